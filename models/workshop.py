"""What every training script needs: data, time splits, intervals, and the export to ONNX.

A model is a bundle of LightGBM boosters that share one input, written as ONE ONNX tree-ensemble
node with a target per booster, followed by an optional product with an input column (a model that
learns a correction factor to a formula). Thresholds are rounded down to float32, so that the
exported trees branch exactly as the trained ones do on float32 rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[1]
SEED = 20_240_906
OPSET, ML_OPSET, IR = 17, 3, 8
GOLDEN_ROWS = 64
TRAINING = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 400,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": SEED,
    "verbosity": -1,
}


@dataclass(frozen=True)
class Output:
    """One column of the answer: its bounds, and whether the model (or the formula) decides it."""

    name: str
    floor: float
    ceiling: float
    decides: bool


def data_dir() -> Path:
    """Return the folder with prices/ and onchain/, by SEP_DATA_DIR or beside the repository."""
    folder = Path(os.environ.get("SEP_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not (folder / "prices").is_dir():
        raise SystemExit(f"no training data at {folder}: set SEP_DATA_DIR")
    return folder


def bars_5m(symbol: str) -> pd.DataFrame:
    """Return the spot bars of `symbol`USDT, 2024-01 to 2024-09, in order."""
    name = f"binance_{symbol}USDT_5m_2024-01_2024-09.feather"
    return pd.read_feather(data_dir() / "prices" / name)


def fit(
    rows: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    rounds: int = 120,
    **parameters: Any,
) -> lightgbm.Booster:
    """Train one booster on float32 rows with the shared parameters and the given ones."""
    data = lightgbm.Dataset(rows.astype(np.float32), target, weight=weight)
    return lightgbm.train({**TRAINING, **parameters}, data, num_boost_round=rounds)


def block_interval(
    values: np.ndarray, blocks: np.ndarray, draws: int = 1000
) -> tuple[float, float, float]:
    """Return mean and 95 % interval of paired differences, resampling whole blocks (days)."""
    frame = pd.DataFrame({"value": values, "block": blocks}).groupby("block")["value"]
    sums, counts = frame.sum().to_numpy(), frame.count().to_numpy()
    pick = np.random.default_rng(SEED).integers(0, len(sums), (draws, len(sums)))
    means = sums[pick].sum(axis=1) / counts[pick].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def to_onnx(
    boosters: Sequence[lightgbm.Booster],
    features: Sequence[str],
    clip: Sequence[tuple[float, float]],
    factor_of: Sequence[str] | None = None,
) -> onnx.ModelProto:
    """Write boosters as one graph rows (n x features) -> scores (n x boosters).

    Each column is clipped to `clip`; with `factor_of` it is then multiplied by that input column.
    """
    width, count = len(features), len(boosters)
    nodes = [_ensemble(boosters)]
    lows, highs = np.array(clip, np.float32).T
    constants = [_constant("low", lows), _constant("high", highs)]
    nodes += [
        helper.make_node("Max", ["trees", "low"], ["raised"]),
        helper.make_node("Min", ["raised", "high"], ["scores" if factor_of is None else "factor"]),
    ]
    if factor_of is not None:
        places = np.array([list(features).index(name) for name in factor_of], np.int64)
        constants.append(_constant("places", places))
        nodes += [
            helper.make_node("Gather", ["rows", "places"], ["base"], axis=1),
            helper.make_node("Mul", ["factor", "base"], ["scores"]),
        ]
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", count])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR)
    onnx.checker.check_model(model)
    return model


def publish(
    folder: Path,
    *,
    version: str,
    model: onnx.ModelProto,
    features: Sequence[str],
    outputs: Sequence[Output],
    sample: np.ndarray,
    reference: Callable[[np.ndarray], np.ndarray],
    card: str,
) -> None:
    """Write model.onnx, model.json, golden.json and card.md; fail when ONNX and trainer differ."""
    sample = sample.astype(np.float32)
    raw = model.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    scores = session.run(["scores"], {"rows": sample})[0]
    worst = float(np.max(np.abs(scores - reference(sample)) / (1 + np.abs(scores))))
    if not worst < 1e-4:
        raise SystemExit(f"the exported model differs from the trained one by {worst}")
    chosen = np.linspace(0, len(sample) - 1, GOLDEN_ROWS).astype(int)
    golden = {
        "rows": [[float(x) for x in row] for row in sample[chosen]],
        "scores": [[float(x) for x in row] for row in scores[chosen]],
        "relative_tolerance": 1e-5,
    }
    about = {
        "name": folder.name,
        "version": version,
        "decides": any(output.decides for output in outputs),
        "input": "rows",
        "output": "scores",
        "features": list(features),
        "features_sha256": hashlib.sha256(",".join(features).encode()).hexdigest(),
        "outputs": [vars(output) for output in outputs],
        "opset": {"ai.onnx": OPSET, "ai.onnx.ml": ML_OPSET},
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    (folder / "model.onnx").write_bytes(raw)
    (folder / "golden.json").write_text(json.dumps(golden, indent=None) + "\n")
    (folder / "model.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / "card.md").write_text(card)
    print(f"{folder.name}: {len(raw) / 1024:.0f} KiB, differs from the trainer by {worst:.1e}")
    print(f"{time.process_time():.0f} s of processor time, peak {_peak_mib():.0f} MiB")


def table(head: Sequence[str], body: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table; floats get three significant digits."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in body]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _constant(name: str, values: np.ndarray) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(values, name)


def _ensemble(boosters: Sequence[lightgbm.Booster]) -> onnx.NodeProto:
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    columns: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    leaves: dict[str, list[Any]] = {
        f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")
    }
    tree = 0
    for target, booster in enumerate(boosters):
        for info in booster.dump_model()["tree_info"]:
            _add_tree(info["tree_structure"], tree, target, columns, leaves)
            tree += 1
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        ["trees"],
        domain="ai.onnx.ml",
        n_targets=len(boosters),
        post_transform="NONE",
        aggregate_function="SUM",
        **columns,
        **leaves,
    )


def _add_tree(
    root: dict[str, Any],
    tree: int,
    target: int,
    columns: dict[str, list[Any]],
    leaves: dict[str, list[Any]],
) -> None:
    """Append the tree's nodes, numbered breadth first."""
    queue, number = [root], 0
    while number < len(queue):
        node = queue[number]
        inner = "split_feature" in node
        columns["nodes_treeids"].append(tree)
        columns["nodes_nodeids"].append(number)
        columns["nodes_featureids"].append(node["split_feature"] if inner else 0)
        columns["nodes_values"].append(_below(node["threshold"]) if inner else 0.0)
        columns["nodes_modes"].append("BRANCH_LEQ" if inner else "LEAF")
        columns["nodes_truenodeids"].append(len(queue) if inner else 0)
        columns["nodes_falsenodeids"].append(len(queue) + 1 if inner else 0)
        if inner:
            queue += [node["left_child"], node["right_child"]]
        else:
            leaves["target_treeids"].append(tree)
            leaves["target_nodeids"].append(number)
            leaves["target_ids"].append(target)
            leaves["target_weights"].append(float(node["leaf_value"]))
        number += 1


def _below(threshold: float) -> float:
    """Return the greatest float32 not above the threshold."""
    rounded = np.float32(threshold)
    if float(rounded) > threshold:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)
