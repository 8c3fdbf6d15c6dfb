"""The walkthrough over two chains: 70/30 here and 40/60 there becomes half and half on both.

It runs twice, through two different bridges, on the chains' own contracts; afterwards the weights
are read from the balances and the books are held against the chains.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from sep_ray.kernel.errors import Transient
from serve_app.cli_common import weighed
from serve_app.demo import ENDED, POLL_S, Demo, available, versions
from serve_app.demo_report import CHAIN_NAMES
from serve_app.route_check import in_words

STRATEGY: Final = "demo-chains"
CHAINS: Final = (1, 42161)
SHARES: Final[Mapping[int, tuple[Decimal, Decimal]]] = {
    1: (Decimal("0.7"), Decimal("0.3")),
    42161: (Decimal("0.4"), Decimal("0.6")),
}
"""What each chain begins with: WETH and USDC, as shares of its own value."""
VALUES: Final[Mapping[int, Decimal]] = {1: Decimal(20_000), 42161: Decimal(10_000)}
"""Dollars on each chain at the beginning."""
TOLERANCE: Final = Decimal("0.01")
BRIDGES: Final = ("across", "cctp", "hyperlane", "arbitrum")
RUNS: Final = 2
WAIT_S: Final = 240.0
WAITING: Final = {
    "StepStarted": "StepFinalized",
    "DepartureIncluded": "ArrivalFinalized",
}
"""What begins a wait for blocks or a bridge, and what ends it."""


class Walkthrough(Demo):
    """Two runs of the rebalance against a running platform."""

    def run(self) -> dict[str, Any]:
        """Rebalance by the best bridge, then by the best of the others."""
        runs: list[dict[str, Any]] = []
        for _ in range(RUNS):
            used = {name for each in runs for name in each["bridges"]}
            runs.append(self._once([name for name in BRIDGES if name not in used]))
        routes = self._routes.result()
        return {
            "ok": all(each["ok"] for each in runs) and len(_used(runs)) >= RUNS and routes["exact"],
            "runs": runs,
            "route_check": routes,
            "versions": versions(),
            "endpoints": self._endpoints,
            "timings": {},
        }

    def _once(self, bridges: Sequence[str]) -> dict[str, Any]:
        self._report("dividing the money as the walkthrough begins")
        price = self._price()
        self._divide(price)
        before = self._balances()
        began = time.monotonic()
        answer = self._post("/v1/intents", _body(bridges))
        intent = self._await_end(answer["id"])
        seconds = time.monotonic() - began
        story = self._get(f"/v1/intents/{intent['id']}/why")
        transfers = self._transfers(intent["id"])
        after = self._balances()
        weights = _weights(after, self._price())
        check = self._get("/v1/portfolio?check=true")["check"]
        on_target = all(abs(w - Decimal("0.25")) <= TOLERANCE for w in weights.values())
        waits = _waited(story["events"])
        total = (intent["updated_at"] - intent["created_at"]) / 1_000
        return {
            "ok": intent["state"] == "COMPLETED" and on_target and not check["mismatches"],
            "allowed": list(bridges),
            "bridges": sorted({each["bridge"] for each in transfers if each["arrived"]}),
            "intent": {key: intent[key] for key in ("id", "state", "reason", "detail", "why")},
            "before": before,
            "after": after,
            "weights": {name: str(weight) for name, weight in weights.items()},
            "steps": [_step(each) for each in intent["steps"]],
            "transfers": transfers,
            "ledger_check": {"assets": check["assets"], "mismatches": check["mismatches"]},
            "seconds": round(seconds, 2),
            "decided_to_ended_seconds": round(total, 2),
            "wait_seconds": round(waits, 2),
            "overhead": round(total / waits, 3) if waits else None,
        }

    def _price(self) -> Decimal:
        """Return dollars per WETH: what a hundredth would sell for now, fee and all."""
        body = {"type": "DISPOSE", "chain_id": 1, "sell": "WETH", "buy": "USDC", "amount": "0.01"}
        deadline = time.monotonic() + 60
        while True:
            answer = self._post("/v1/plans", {**body, "strategy_id": "treasury"})
            if answer["steps"]:
                return Decimal(answer["steps"][0]["buy"]["amount"]) * 100
            if time.monotonic() > deadline:
                raise Transient("nobody says what WETH is worth", why=answer["refused"])
            time.sleep(POLL_S)

    def _divide(self, price: Decimal) -> None:
        """Give the strategy exactly what the walkthrough begins with; the rest goes back."""
        held = available(self._get("/v1/portfolio"))
        for chain_id in CHAINS:
            weth, usdc = (VALUES[chain_id] * share for share in SHARES[chain_id])
            wanted = {"WETH": (weth / price).quantize(Decimal("1e-6")), "USDC": usdc}
            for symbol, amount in wanted.items():
                have = held.get((STRATEGY, chain_id, symbol), Decimal(0))
                self._move(STRATEGY, chain_id, symbol, amount - have)

    def _balances(self) -> dict[str, dict[str, str]]:
        held = available(self._get(f"/v1/portfolio?strategy_id={STRATEGY}"))
        return {
            CHAIN_NAMES[chain_id]: {
                symbol: format(held.get((STRATEGY, chain_id, symbol), Decimal(0)), "f")
                for symbol in ("WETH", "USDC")
            }
            for chain_id in CHAINS
        }

    def _await_end(self, intent_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while True:
            intent = self._seen(intent_id)
            if intent["state"] in ENDED or time.monotonic() > deadline:
                return intent
            steps = intent["steps"] or []
            done = sum(step["state"] == "DONE" for step in steps)
            self._report(f"{done} of {len(steps)} steps done: {_standing(steps)}")
            time.sleep(POLL_S)

    def _transfers(self, intent_id: str) -> list[dict[str, Any]]:
        page = self._get(f"/v1/transfers?strategy_id={STRATEGY}&limit=50")["transfers"]
        mine = [each for each in page if each["intent_id"] == intent_id]
        return [self._get(f"/v1/transfers/{each['id']}") for each in reversed(mine)]


def print_walkthrough(console: Console, result: Mapping[str, Any]) -> None:
    """Print what moved, by which bridge and why, and where it stands."""
    for number, run in enumerate(result["runs"], 1):
        console.print(_steps_table(number, run))
        for transfer in run["transfers"]:
            console.print(f"{transfer['bridge']}: {transfer['choice']['reason']}")
            for words in weighed(transfer["choice"]):
                console.print(f"  {words}", markup=False)
        shares = ", ".join(f"{name} {Decimal(w):.2%}" for name, w in run["weights"].items())
        console.print(f"weights: {shares}")
        off = len(run["ledger_check"]["mismatches"])
        console.print(
            f"{run['seconds']} s, of which {run['wait_seconds']} s waiting for blocks and bridges "
            f"(overhead {run['overhead']}); {run['ledger_check']['assets']} balances compared, "
            f"{off} differ\n"
        )
    console.print("\n".join(in_words(result["route_check"])), markup=False)


def _body(bridges: Sequence[str]) -> dict[str, Any]:
    return {
        "strategy_id": STRATEGY,
        "type": "REBALANCE",
        "chain_id": 1,
        "targets": [
            {"asset": symbol, "weight": 0.25, "chain_id": chain_id}
            for chain_id in CHAINS
            for symbol in ("WETH", "USDC")
        ],
        "tolerance": 0.005,
        "constraints": {
            "max_slippage": 0.01,
            "time_window_ms": 600_000,
            "bridges": list(bridges),
            "bridge_ms": 300_000,
        },
        "note": "half WETH, half USDC, on both chains",
    }


def _weights(balances: Mapping[str, Mapping[str, str]], price: Decimal) -> dict[str, Decimal]:
    worth = {
        f"{chain} {symbol}": Decimal(amount) * (price if symbol == "WETH" else 1)
        for chain, held in balances.items()
        for symbol, amount in held.items()
    }
    total = sum(worth.values())
    return {name: (value / total).quantize(Decimal("1e-6")) for name, value in worth.items()}


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{key: step[key] for key in ("id", "ordinal", "kind", "chain_id", "state", "reason")},
        **{key: step[key] for key in ("detail", "after", "sold", "bought", "quoted")},
        "tx_hashes": [each["tx_hashes"][-1] for each in step["transactions"]],
    }


def _standing(steps: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{step['kind']} {step['state'].lower()}" for step in steps)


def _waited(events: Sequence[Mapping[str, Any]]) -> float:
    """Return for how long something was being waited for that blocks or bridges decide: the union
    of all waits, in seconds."""
    open_since: dict[tuple[str, str], int] = {}
    spans: list[tuple[int, int]] = []
    for event in events:
        kind, stream = event["type"], event["stream"]
        if kind in WAITING:
            open_since.setdefault((stream, WAITING[kind]), event["at"])
        began = open_since.pop((stream, kind), None)
        if began is not None:
            spans.append((began, event["at"]))
    total, reached = 0, 0
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0)
        reached = max(reached, end)
    return total / 1_000


def _used(runs: Iterable[Mapping[str, Any]]) -> set[str]:
    return {name for each in runs for name in each["bridges"]}


def _steps_table(number: int, run: Mapping[str, Any]) -> Table:
    table = Table(title=f"Rebalance {number}: {run['intent']['state']}")
    for name in ("step", "chain", "state", "sold", "bought", "transactions"):
        table.add_column(name, overflow="fold")
    for step in run["steps"]:
        table.add_row(
            step["kind"],
            CHAIN_NAMES.get(step["chain_id"], str(step["chain_id"])),
            step["state"] if not step["detail"] else f"{step['state']} {step['detail']}",
            f"{step['sold']['amount']} {step['sold']['symbol']}",
            f"{step['bought']['amount']} {step['bought']['symbol']}",
            "\n".join(hash_[:18] for hash_ in step["tx_hashes"]),
        )
    return table
