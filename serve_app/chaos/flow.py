"""Intents that flow through the API while everything dies: each is asked for until answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx

STRATEGY: Final = "chaos"
CHAINS: Final = (1, 42161)
FUNDS: Final[Mapping[str, str]] = {"WETH": "60", "USDC": "150000", "USDT": "50000"}
TRADES: Final = (
    ("WETH", "USDC", 0.033),
    ("USDC", "WETH", 100.0),
    ("WETH", "USDT", 0.033),
    ("USDT", "WETH", 100.0),
)
"""What is sold for what, and the least amount; as much each way, so that funds last for long."""
WINDOW_MS: Final = 90_000
ANSWER_S: Final = 10.0
PATIENCE_S: Final = 120.0
"""How long one submission is repeated under its key."""


class Flow:
    """A thread that submits; `accepted` are the ids that were answered with 202."""

    def __init__(self, url: str, token: str, seed: int, pause_s: float) -> None:
        self.accepted: dict[str, str] = {}
        self.asked = 0
        self.refused: list[str] = []
        self._chance = random.Random(seed)
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._http = httpx.Client(
            base_url=url, timeout=ANSWER_S, headers={"Authorization": f"Bearer {token}"}
        )
        self._thread = threading.Thread(target=self._run, name="chaos-flow", daemon=True)

    def __enter__(self) -> Flow:
        for chain_id in CHAINS:
            for symbol, amount in FUNDS.items():
                body = {"chain_id": chain_id, "asset": symbol, "amount": amount}
                body |= {"source": "treasury", "target": STRATEGY}
                self._until_answered("/v1/portfolio/allocations", body, f"{chain_id}{symbol}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.close()

    def start_strategy(self, name: str, body: Mapping[str, Any]) -> None:
        """Have a strategy trade beside the flow, so that there is an actor of its kind."""
        for symbol, amount in (("WETH", "5"), ("USDC", "15000")):
            moved = {"chain_id": 42161, "asset": symbol, "amount": amount}
            moved |= {"source": "treasury", "target": name}
            self._until_answered("/v1/portfolio/allocations", moved, f"{name}{symbol}")
        self._until_answered("/v1/strategies", body, name)

    def stop(self) -> None:
        """Submit no more; returns when the last submission has its answer."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S + ANSWER_S)

    def get(self, path: str) -> dict[str, Any]:
        """Read, again and again while nobody answers; TimeoutError when that lasts."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = self._http.get(path)
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.2)
        raise TimeoutError(f"no answer to {path} in {PATIENCE_S:.0f} s")

    def well(self, service: str) -> bool:
        """Whether the platform says that one of its services is well."""
        try:
            answer = self._http.get("/health", timeout=2.0).json()
            return bool(answer["services"][service]["state"] == "ok")
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False

    def _run(self) -> None:
        while not self._ended.wait(self._pause_s * self._chance.uniform(0.5, 1.5)):
            self.asked += 1
            key = f"chaos-{self._chance.getrandbits(64):016x}"
            made = self._until_answered("/v1/intents", self._drawn(), key)
            if made is not None:
                self.accepted[made["id"]] = key
                if self._chance.random() < 0.05:
                    self._cancel(made["id"])

    def _until_answered(
        self, path: str, body: Mapping[str, Any], key: str
    ) -> dict[str, Any] | None:
        """Ask under one key until there is an answer: whatever was lost, it happens once (P1)."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = self._http.post(path, json=body, headers={"Idempotency-Key": key})
                if answer.is_success:
                    made: dict[str, Any] = answer.json()
                    return made
                if answer.status_code < 500 and answer.status_code != 429:
                    self.refused.append(answer.text[:300])
                    return None
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.2)
        return None

    def _cancel(self, intent_id: str) -> None:
        try:
            self._http.delete(f"/v1/intents/{intent_id}")
        except httpx.HTTPError:
            return

    def _drawn(self) -> dict[str, Any]:
        chance = self._chance
        constraints: dict[str, Any] = {"max_slippage": 0.05, "time_window_ms": WINDOW_MS}
        if chance.random() < 0.15:
            catch_up = chance.choice(["skip", "spread", "burst"])
            constraints |= {"style": "twap", "schedule": {"slices": 3, "catch_up": catch_up}}
        sell, buy, amount = chance.choice(TRADES)
        return {
            "type": "DISPOSE",
            "strategy_id": STRATEGY,
            "chain_id": chance.choice(CHAINS),
            "sell": sell,
            "buy": buy,
            "amount": f"{amount * chance.randrange(1, 10):.4f}",
            "constraints": constraints,
        }
