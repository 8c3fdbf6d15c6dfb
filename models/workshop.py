"""What every training script needs: data, time splits, intervals, and the export to ONNX.

A model is a bundle of LightGBM boosters that share one input, written as ONE ONNX tree-ensemble
node with a target per booster, followed by products with input columns where a booster learns a
correction to a formula. Thresholds are rounded down to float32, so that the exported trees branch
exactly as the trained ones do on float32 rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from collections.abc import Sequence
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
MATERIAL = 0.01
"""A model is switched on when the whole 95 % interval of what it saves lies above this share of
its best baseline's cost; a gain nobody would notice is not worth a model."""
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


@dataclass(frozen=True)
class Column:
    """One output: trees plus a linear part, between low and high, times columns of the input.

    The value is multiplied by every column in `times` and by the square root of every column in
    `roots`, so that a model may learn a correction to a formula. `linear` holds one weight per
    feature and the constant last.
    """

    low: float
    high: float
    booster: lightgbm.Booster | None = None
    linear: np.ndarray | None = None
    times: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    derived: tuple[Derived, ...] = ()

    def answer(self, rows: np.ndarray, features: Sequence[str]) -> np.ndarray:
        """Return what the exported column must give for float32 rows."""
        value = np.zeros(len(rows))
        if self.booster is not None:
            inputs = extended(rows, features, self.derived)
            value = value + self.booster.predict(inputs, num_threads=1)
        if self.linear is not None:
            value = value + rows @ self.linear[:-1] + self.linear[-1]
        value = np.clip(value, self.low, self.high)
        for name in self.times:
            value = value * rows[:, list(features).index(name)]
        for name in self.roots:
            value = value * np.sqrt(np.maximum(rows[:, list(features).index(name)], 0))
        return value


@dataclass(frozen=True)
class Derived:
    """A column the trees read beside the input's: feature * over / under, or with the ratio's root.

    `over` and `under` are a feature's name or a constant. Only operations that round alike
    everywhere, so that a threshold decides in ONNX as it did in training.
    """

    feature: str
    over: str | float
    under: str | float
    root: bool = False

    def values(self, rows: np.ndarray, features: Sequence[str]) -> np.ndarray:
        """Return the column for float32 rows, in float32."""
        one, over, under = (
            rows[:, list(features).index(part)] if isinstance(part, str) else np.float32(part)
            for part in (self.feature, self.over, self.under)
        )
        ratio = np.divide(over, under, dtype=np.float32)
        return one * (np.sqrt(ratio) if self.root else ratio)


def extended(rows: np.ndarray, features: Sequence[str], more: Sequence[Derived]) -> np.ndarray:
    """Return the rows with the derived columns after them: what the trees are trained on."""
    rows = rows.astype(np.float32)
    return np.column_stack([rows, *(each.values(rows, features) for each in more)])


def answers(columns: Sequence[Column], rows: np.ndarray, features: Sequence[str]) -> np.ndarray:
    """Return rows x columns, as the exported model must."""
    return np.stack([column.answer(rows, features) for column in columns], axis=1)


def worthwhile(low: float, baseline_cost: float) -> bool:
    """Whether a saving whose interval begins at `low` is material against the baseline's cost."""
    return bool(low > MATERIAL * baseline_cost)


def to_onnx(columns: Sequence[Column], features: Sequence[str]) -> onnx.ModelProto:
    """Write the columns as one graph: rows (n x features) -> scores (n x columns).

    All columns with trees share the first one's derived inputs.
    """
    lows = np.array([column.low for column in columns], np.float32)
    highs = np.array([column.high for column in columns], np.float32)
    none = np.zeros(len(features) + 1)
    lines = [none if column.linear is None else column.linear for column in columns]
    weights = np.stack(lines, axis=1).astype(np.float32)
    constants = [
        _constant("low", lows),
        _constant("high", highs),
        _constant("zero", np.zeros(1, np.float32)),
        _constant("weights", weights[:-1]),
        _constant("constant", weights[-1]),
    ]
    nodes = [
        *_extension(features, columns[0].derived, constants),
        _ensemble([column.booster for column in columns]),
        helper.make_node("Gemm", ["rows", "weights", "constant"], ["lines"]),
        helper.make_node("Add", ["trees", "lines"], ["sum"]),
        helper.make_node("Max", ["sum", "low"], ["raised"]),
        helper.make_node("Min", ["raised", "high"], ["value0"]),
        helper.make_node("Max", ["rows", "zero"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["root_rows"]),
    ]
    stage = 0
    for source, kind in (("rows", "times"), ("root_rows", "roots")):
        for at in range(max(len(getattr(column, kind)) for column in columns)):
            nodes += _product(columns, features, source, kind, at, stage, constants)
            stage += 1
    nodes.append(helper.make_node("Identity", [f"value{stage}"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", len(features)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(columns)])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR)
    onnx.checker.check_model(model)
    return model


def _extension(
    features: Sequence[str], more: Sequence[Derived], constants: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """Compute the derived columns as Derived.values does, and put them after the rows."""
    nodes, names = [], ["rows"]
    for number, each in enumerate(more):
        parts = []
        for role, part in (("feature", each.feature), ("over", each.over), ("under", each.under)):
            name = f"{role}{number}"
            if isinstance(part, str):
                place = np.array([list(features).index(part)], np.int64)
                constants.append(_constant(f"{name}_place", place))
                gather = ["rows", f"{name}_place"]
                nodes.append(helper.make_node("Gather", gather, [name], axis=1))
            else:
                constants.append(_constant(name, np.array([part], np.float32)))
            parts.append(name)
        ratio, derived = f"ratio{number}", f"derived{number}"
        nodes.append(helper.make_node("Div", parts[1:], [ratio]))
        if each.root:
            nodes.append(helper.make_node("Sqrt", [ratio], [f"root{number}"]))
            ratio = f"root{number}"
        nodes.append(helper.make_node("Mul", [parts[0], ratio], [derived]))
        names.append(derived)
    nodes.append(helper.make_node("Concat", names, ["inputs"], axis=1))
    return nodes


def _product(
    columns: Sequence[Column],
    features: Sequence[str],
    source: str,
    kind: str,
    at: int,
    stage: int,
    constants: list[onnx.TensorProto],
) -> list[onnx.NodeProto]:
    """Multiply each column by its `at`-th factor; columns without one are multiplied by one."""
    named = [getattr(column, kind)[at : at + 1] for column in columns]
    places = [list(features).index(name[0]) if name else 0 for name in named]
    keep = np.array([1.0 if name else 0.0 for name in named], np.float32)
    constants += [
        _constant(f"places{stage}", np.array(places, np.int64)),
        _constant(f"keep{stage}", keep),
        _constant(f"rest{stage}", 1 - keep),
    ]
    return [
        helper.make_node("Gather", [source, f"places{stage}"], [f"picked{stage}"], axis=1),
        helper.make_node("Mul", [f"picked{stage}", f"keep{stage}"], [f"kept{stage}"]),
        helper.make_node("Add", [f"kept{stage}", f"rest{stage}"], [f"factor{stage}"]),
        helper.make_node("Mul", [f"value{stage}", f"factor{stage}"], [f"value{stage + 1}"]),
    ]


def publish(
    folder: Path,
    *,
    version: str,
    columns: Sequence[Column],
    features: Sequence[str],
    outputs: Sequence[Output],
    sample: np.ndarray,
    card: str,
) -> None:
    """Write model.onnx, model.json, golden.json and card.md; fail when ONNX and trainer differ."""
    sample = sample.astype(np.float32)
    raw = to_onnx(columns, features).SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    scores = session.run(["scores"], {"rows": sample})[0]
    expected = answers(columns, sample, features)
    worst = float(np.max(np.abs(scores - expected) / (1 + np.abs(scores))))
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


def _ensemble(boosters: Sequence[lightgbm.Booster | None]) -> onnx.NodeProto:
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    columns: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    leaves: dict[str, list[Any]] = {
        f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")
    }
    tree = 0
    for target, booster in enumerate(boosters):
        for info in booster.dump_model()["tree_info"] if booster else ():
            _add_tree(info["tree_structure"], tree, target, columns, leaves)
            tree += 1
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["inputs"],
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
