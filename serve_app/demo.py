"""The demonstration: real intents on both chains at once, end to end, with the books checked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from rich.console import Console

from sep_ray import __version__
from sep_ray.devnet.moving import MovingMarket
from sep_ray.kernel.clock import SystemClock
from sep_ray.kernel.errors import Indeterminate, Transient
from sep_ray.kernel.units import ChainId
from sep_ray.settings import Settings
from serve_app import demo_plan as plan
from serve_app.auth import Role, Tokens, token_secret
from serve_app.cli_common import progress
from serve_app.client import ApiProblem, Client
from serve_app.demo_report import intents_table, portfolio_table, queue_table
from serve_app.platform import down, status, up
from serve_app.route_check import RouteCheck, in_words

ENDED: Final = frozenset(
    {"COMPLETED", "PARTIALLY_COMPLETED", "CANCELLED", "EXPIRED", "REJECTED", "FAILED"}
)
WAIT_S: Final = 150.0
POLL_S: Final = 0.25
PATIENCE_S: Final = 60.0
FILE_WIDTH: Final = 140

Say = Callable[[Console, Mapping[str, Any]], None]


def run_demos(
    settings: Settings,
    demos: Mapping[str, tuple[type[Demo], Say]],
    json_path: Path | None = None,
    console: Console | None = None,
) -> int:
    """Run demonstrations one after the other and print what happened; 0 when all went well.

    A platform that runs already is used and left running; otherwise one is started and stopped.
    Several results are written to `json_path` by name, a single one as it is.
    """
    console = console or wide_console()
    began = time.monotonic()
    mine = not status(settings)["running"]
    results: dict[str, dict[str, Any]] = {}
    with progress() as report:
        report("starting the platform")
        endpoints = up(settings, False, report)
        ready = time.monotonic()
        try:
            for name, (made, _) in demos.items():
                results[name] = made(settings, endpoints, report).run()
        finally:
            if mine:
                down(settings, report)
    timings = {
        "up_seconds": round(ready - began, 1),
        "total_seconds": round(time.monotonic() - began, 1),
    }
    for name, (_, say) in demos.items():
        results[name]["timings"] |= timings
        say(console, results[name])
    if json_path is not None:
        written = results if len(results) > 1 else next(iter(results.values()))
        json_path.write_text(json.dumps(written, indent=1))
        console.print(f"written to {json_path}")
    return 0 if all(result["ok"] for result in results.values()) else 1


class Demo:
    """One run against a running platform."""

    def __init__(self, settings: Settings, endpoints: Mapping[str, Any], report: Any) -> None:
        secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        tokens = Tokens(token_secret(secret, settings.state_dir), SystemClock())
        name = f"demo-{int(time.time())}"
        self._client = Client(endpoints["api"], tokens.mint(name, Role.ADMIN, ttl_s=3_600))
        self._settings = settings
        self._endpoints = endpoints
        self._report = report
        self._began_ms = time.time() * 1_000
        self._routes = RouteCheck(
            lambda name: self._get(f"/v1/intents/{name}/why"), endpoints["chains"]
        )

    def run(self) -> dict[str, Any]:
        """Fund, trade, wait for every end, check the books; return what the report shows."""
        began = time.monotonic()
        self._report("funding the demonstration's strategies")
        self._fund()
        before = self._get("/v1/portfolio")
        names = self._submit()
        with self._moving_market():
            self._start_momentum()
            self._trade_momentum(list(names))
            self._stop_momentum()
        names |= self._momentum_intents()
        intents = self._await_ends(names)
        self._report("checking the books against the chains")
        after = self._get("/v1/portfolio?check=true")
        check = after["check"]
        completed = all(each["state"] == "COMPLETED" for each in intents)
        routes = self._routes.result()
        agree = not check["mismatches"] and not check["unread"] and routes["exact"]
        return {
            "ok": completed and agree,
            "intents": intents,
            "ledger_check": {
                "assets": check["assets"],
                "mismatches": len(check["mismatches"]),
                "details": check["mismatches"],
                "unread": check["unread"],
            },
            "route_check": routes,
            "portfolio": {"before": before, "after": after},
            "timings": {"trading_seconds": round(time.monotonic() - began, 1)},
            "versions": versions(),
            "endpoints": self._endpoints,
        }

    def _get(self, path: str) -> dict[str, Any]:
        """Read, again and again while nobody answers: a part that dies comes back."""
        return self._patiently(lambda: self._client.get(path))

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write once, under one key, however often it has to be said."""
        key = uuid4().hex
        return self._patiently(lambda: self._client.post(path, body, key))

    def _seen(self, intent_id: str) -> dict[str, Any]:
        """Read an intent, and run its new swaps again while the chain remembers what they met."""
        intent = self._get(f"/v1/intents/{intent_id}")
        self._routes.look(intent)
        return intent

    def _patiently(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask()
            except (Transient, Indeterminate, ApiProblem) as error:
                lasting = isinstance(error, ApiProblem) and error.facts["status"] < 500
                if lasting or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def _fund(self) -> None:
        """Give each strategy exactly what the plan says; what is over goes back to the treasury."""
        deadline = time.monotonic() + 30
        while not self._treasury_ready():
            if time.monotonic() > deadline:
                raise Transient("the treasury holds nothing to demonstrate with")
            time.sleep(POLL_S)
        held = available(self._get("/v1/portfolio"))
        for strategy, amounts in plan.FUNDS.items():
            for chain_id in plan.CHAINS:
                for symbol, amount in amounts.items():
                    have = held.get((strategy, chain_id, symbol), Decimal(0))
                    self._move(strategy, chain_id, symbol, Decimal(amount) - have)
                for symbol in ("USDC", "USDT", "WBTC", "WETH"):
                    if symbol not in amounts:
                        have = held.get((strategy, chain_id, symbol), Decimal(0))
                        self._move(strategy, chain_id, symbol, -have)

    def _treasury_ready(self) -> bool:
        held = available(self._get("/v1/portfolio"))
        return all(
            ("treasury", c, s) in held for c in plan.CHAINS for s in ("WETH", "USDC", "WBTC")
        )

    def _move(self, strategy: str, chain_id: int, symbol: str, amount: Decimal) -> None:
        if amount == 0:
            return
        source, target = ("treasury", strategy) if amount > 0 else (strategy, "treasury")
        self._post(
            "/v1/portfolio/allocations",
            {
                "chain_id": chain_id,
                "asset": symbol,
                "amount": format(abs(amount), "f"),
                "source": source,
                "target": target,
            },
        )

    def _submit(self) -> dict[str, str]:
        """Submit all intents in one request; return each one's name by id."""
        everything = [each for chain_id in plan.CHAINS for each in plan.wanted(chain_id)]
        answer = self._post("/v1/intents/batch", {"intents": [each.body for each in everything]})
        refused = [v["problem"]["detail"] for v in answer["verdicts"] if v["verdict"] == "refused"]
        if refused:
            raise Transient("the platform refused the demonstration's intents", why=refused)
        return {
            verdict["id"]: each.name
            for verdict, each in zip(answer["verdicts"], everything, strict=True)
        }

    def _moving_market(self) -> AbstractContextManager[object]:
        """Move the momentum strategy's market, where the chain is a local one of ours."""
        if self._settings.market_driver or self._settings.arbitrum_rpc_url is not None:
            return nullcontext()
        url = self._endpoints["chains"][str(plan.MOMENTUM_CHAIN)]
        pools_file = self._settings.state_dir / "chains" / "known_pools.json"
        seed = self._settings.market_seed
        return MovingMarket({ChainId(plan.MOMENTUM_CHAIN): url}, pools_file, seed)

    def _start_momentum(self) -> None:
        known = {s["id"]: s["state"] for s in self._get("/v1/strategies")["strategies"]}
        if known.get(plan.MOMENTUM, "STOPPED") != "STOPPED":
            self._post(f"/v1/strategies/{plan.MOMENTUM}/stop", {})
        self._post("/v1/strategies", plan.momentum())

    def _trade_momentum(self, ids: Sequence[str]) -> None:
        blocks_s = plan.MOMENTUM_BLOCKS * self._settings.arbitrum_block_seconds
        until = time.monotonic() + blocks_s
        while (left := until - time.monotonic()) > 0:
            ended = sum(self._seen(each)["state"] in ENDED for each in ids)
            traded = len(self._momentum_intents())
            self._report(
                f"{ended} of {len(ids)} intents ended; momentum has asked {traded} times, "
                f"{left:.0f} s of its market left"
            )
            time.sleep(1.0)

    def _stop_momentum(self) -> None:
        self._post(f"/v1/strategies/{plan.MOMENTUM}/stop", {})

    def _momentum_intents(self) -> dict[str, str]:
        page = self._get(f"/v1/intents?strategy_id={plan.MOMENTUM}&limit=200")
        found = [each for each in page["intents"] if each["created_at"] > self._began_ms]
        for each in found:
            self._routes.look(each)
        return {each["id"]: "momentum" for each in found}

    def _await_ends(self, names: Mapping[str, str]) -> list[dict[str, Any]]:
        deadline = time.monotonic() + WAIT_S
        while True:
            found = [self._seen(intent_id) for intent_id in names]
            open_ = [each for each in found if each["state"] not in ENDED]
            if not open_ or time.monotonic() > deadline:
                return [_summary(each, names[each["id"]]) for each in found]
            self._report(f"waiting for {len(open_)} of {len(found)} intents to end")
            time.sleep(POLL_S)


def _summary(intent: Mapping[str, Any], name: str) -> dict[str, Any]:
    steps = intent["steps"] or []
    return {
        "name": name,
        "id": intent["id"],
        "type": intent["type"],
        "chain_id": intent["chain_id"],
        "state": intent["state"],
        "reason": intent["reason"],
        "detail": intent["detail"],
        "tx_hashes": intent["tx_hashes"],
        "amount_in": _side(steps, "sold"),
        "amount_out": _side(steps, "bought"),
        "quoted_out": _quoted(steps),
        "slippage_bp": intent["slippage_bp"],
        "gas_used": intent["gas_used"],
        "score": intent["score"],
        "score_source": intent["score_source"],
        "why": intent["why"],
    }


def _side(steps: Sequence[Mapping[str, Any]], side: str) -> list[Mapping[str, Any]]:
    """Sum one side of the steps by asset."""
    sums: dict[str, dict[str, Any]] = {}
    for step in steps:
        amount = step[side]
        kept = sums.setdefault(amount["asset"], {**amount, "units": "0", "amount": "0"})
        kept["units"] = str(int(kept["units"]) + int(amount["units"]))
        kept["amount"] = format(Decimal(kept["amount"]) + Decimal(amount["amount"] or 0), "f")
    return list(sums.values())


def _quoted(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return _side([{"quoted": step["quoted"]} for step in steps if step["quoted"]], "quoted")


def available(portfolio: Mapping[str, Any]) -> dict[tuple[str, int, str], Decimal]:
    """Return whole tokens at hand by strategy, chain and symbol."""
    held = {}
    for strategy in portfolio["strategies"]:
        for entry in strategy["assets"]:
            amount = entry["buckets"].get("available")
            if amount is not None and entry["symbol"] and amount["amount"] is not None:
                chain_id = int(entry["asset"].split("/")[0].split(":")[1])
                key = (strategy["strategy_id"], chain_id, entry["symbol"])
                held[key] = Decimal(amount["amount"])
    return held


def versions() -> dict[str, str]:
    """Return the versions of the platform and of what it stands on."""
    packages = ("ray", "web3", "onnxruntime", "asyncpg", "redis", "pydantic")
    return {"sep_ray": __version__} | {name: version(name) for name in packages}


def wide_console() -> Console:
    """Return the terminal, or wide enough lines where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=FILE_WIDTH)


def print_trades(console: Console, result: Mapping[str, Any]) -> None:
    console.print(intents_table(result["intents"]))
    console.print(queue_table(result["intents"]))
    console.print(portfolio_table(result["portfolio"]["before"], result["portfolio"]["after"]))
    check = result["ledger_check"]
    agree = "agree to the last unit" if not check["mismatches"] else "DO NOT AGREE"
    console.print(f"{check['assets']} balances compared with the chains: they {agree}")
    console.print("\n".join(in_words(result["route_check"])), markup=False)
    times = result["timings"]
    console.print(
        f"up in {times['up_seconds']} s, traded for {times['trading_seconds']} s, "
        f"{times['total_seconds']} s in all"
    )
