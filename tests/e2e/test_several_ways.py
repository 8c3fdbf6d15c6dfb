"""Several accounts and several endpoints on each chain, of which one fails, lags and lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import pytest

from sep_ray.devnet.faults.control import FaultControl
from sep_ray.devnet.postgres import EmbeddedPostgres
from sep_ray.kernel.clock import SystemClock
from serve_app.auth import Role, Tokens, token_secret
from serve_app.chaos.books import ENDED, ON_CHAIN, Books, compare
from serve_app.chaos.pausing import pause
from serve_app.client import Client
from tests.e2e.conftest import Sep, head, pids
from tests.fixtures.eventually import eventually

STRATEGIES = ("north", "east", "south")
CHAINS = (1, 42161)
TRADES = (("WETH", "USDC", "0.4"), ("USDC", "WETH", "700"))
FUNDS = {"WETH": "4", "USDC": "9000"}


@dataclass
class Desk:
    """Three strategies that trade both ways on both chains, and what they asked for."""

    client: Client
    asked: list[str]

    def trade(self, chains: tuple[int, ...] = CHAINS) -> None:
        """Submit one intent of each strategy each way on each chain, all at once."""
        intents = [
            {
                "type": "DISPOSE",
                "strategy_id": strategy,
                "chain_id": chain,
                "sell": sell,
                "buy": buy,
                "amount": amount,
                "constraints": {"max_slippage": 0.05, "time_window_ms": 120_000},
            }
            for strategy in STRATEGIES
            for chain in chains
            for sell, buy, amount in TRADES
        ]
        verdicts = self.client.post("/v1/intents/batch", {"intents": intents})["verdicts"]
        self.asked += [each["id"] for each in verdicts]

    def states(self) -> list[str]:
        """Return how everything asked for so far stands."""
        return [self.client.get(f"/v1/intents/{each}")["state"] for each in self.asked]

    def all_ended(self) -> bool:
        """Whether nothing is open any more."""
        return all(state in ENDED for state in self.states())

    def told(self, chain: int) -> str:
        """Return what the platform says of a chain's endpoints."""
        return str(self.client.health()["services"][f"endpoints/{chain}"]["detail"])


@pytest.fixture
def desk(sep: Sep, interrupted: str) -> Iterator[Desk]:
    tokens = Tokens(token_secret(None, sep.state), SystemClock())
    with Client(sep.endpoints()["api"], tokens.mint("desk", Role.ADMIN, 3_600)) as client:
        for chain in CHAINS:
            for strategy in STRATEGIES:
                for symbol, amount in FUNDS.items():
                    moved = {"chain_id": chain, "asset": symbol, "amount": amount}
                    moved |= {"source": "treasury", "target": strategy}
                    client.post("/v1/portfolio/allocations", moved)
        yield Desk(client, [])


@pytest.fixture
def books(sep: Sep) -> Iterator[Books]:
    books = Books(EmbeddedPostgres(sep.state).url())
    yield books
    books.close()


@pytest.fixture
def proxies(sep: Sep, interrupted: str) -> Iterator[Mapping[int, FaultControl]]:
    controls = {int(chain): FaultControl(url) for chain, url in sep.endpoints()["chains"].items()}
    yield controls
    for control in controls.values():
        control.clear()


def test_p3_p6_p8_three_lanes_trade_on_while_an_endpoint_is_cut_lags_and_lies(
    sep: Sep, desk: Desk, books: Books, proxies: Mapping[int, FaultControl]
) -> None:
    here, there = proxies[1], proxies[42161]
    desk.trade()
    eventually(desk.all_ended, 60)

    here.add(fault="lie", first_block=head(sep.endpoints()["chains"]["1"]))
    there.add(fault="cut")
    there.cut()
    desk.trade()
    eventually(lambda: here.show()["counts"].get("lie"), 30)
    eventually(lambda: "failing" in desk.told(42161), 30)
    here.clear()
    there.clear()
    here.add(fault="cut")
    here.cut()
    there.add(fault="lag", blocks=40)
    desk.trade()
    eventually(lambda: "failing" in desk.told(1), 30)
    eventually(lambda: "lagging" in desk.told(42161), 30)
    eventually(desk.all_ended, 90)
    assert set(desk.states()) == {"COMPLETED"}
    here.clear()
    there.clear()

    attempts = books.attempts()
    found = compare(attempts, {int(c): url for c, url in sep.endpoints()["chains"].items()})
    assert (found.duplicates, found.gaps) == ([], [])
    for chain in CHAINS:
        used = {a["account"] for a in attempts if a["chain_id"] == chain if a["status"] in ON_CHAIN}
        assert len(used) > 1, f"all work of chain {chain} was done by {used}"
    assert sep.json("portfolio", "--check")["check"]["mismatches"] == []


def test_p8_each_account_that_was_short_of_coin_was_sent_some_once(
    sep: Sep, desk: Desk, books: Books
) -> None:
    lanes = sep.json("lane", "list")["lanes"]
    assert len(lanes) == len(CHAINS) * 3
    assert not [lane for lane in lanes if lane["short"] or lane["refuelling"]]
    refuelled = [a for a in books.attempts() if a["purpose"] == "refuel"]
    assert [a["status"] for a in refuelled] == ["FINAL"] * len(CHAINS) * 2
    assert {a["account"] for a in refuelled} == {sep.endpoints()["account"]}


def test_p5_a_process_that_slept_longer_than_its_lease_sends_nothing_when_it_wakes(
    sep: Sep, desk: Desk, books: Books, proxies: Mapping[int, FaultControl]
) -> None:
    chain = 42161
    executors = {pid: books.lanes(pid) for pid in pids(sep.actors(), ["ChainExecutor"])}
    (pid,) = (pid for pid, lanes in executors.items() if chain in lanes.values())
    desk.trade((chain,))
    with ThreadPoolExecutor(1) as aside:
        pausing = aside.submit(pause, books.url, pid, list(executors[pid]))
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        desk.trade((chain,))
        woken = pausing.result()
    assert woken is not None, "nobody else could lead"
    eventually(desk.all_ended, 60)
    assert set(desk.states()) == {"COMPLETED"}
    sends = proxies[chain].show()["sends"]
    assert woken.stale(sends) == []
    assert any(at >= woken.until for at in sends), "nothing was left to be sent"
    found = compare(books.attempts(), {chain: sep.endpoints()["chains"][str(chain)]})
    assert (found.duplicates, found.gaps) == ([], [])
