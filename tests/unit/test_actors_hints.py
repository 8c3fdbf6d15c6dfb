"""Hints to executors: told at once, never piled up, and found again after a failure."""

import asyncio
from types import SimpleNamespace

from ray.exceptions import RayActorError

from actors import names
from actors.hints import ExecutorHints
from sep_ray.kernel.units import ChainId

CHAIN, OTHER = ChainId(1), ChainId(42161)


class Executor:
    """Counts hints; answers when let, or fails."""

    def __init__(self, error=None):
        self.hints, self.error, self.gate = 0, error, asyncio.Event()
        self.gate.set()
        self.hint = SimpleNamespace(remote=self._hint)

    async def _hint(self):
        self.hints += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error


def living(monkeypatch, actors):
    looked = []

    def find(name):
        looked.append(name)
        return actors.get(name)

    monkeypatch.setattr(names, "find", find)
    return looked


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_many_hints_at_once_are_one_or_two_calls(monkeypatch):
    executor, other = Executor(), Executor()
    looked = living(monkeypatch, {"chain-executor-1": executor, "chain-executor-42161": other})
    hints = ExecutorHints()
    for _ in range(1_000):
        hints.give(CHAIN)
    hints.give(OTHER)
    await settle()
    assert (executor.hints, other.hints) == (1, 1)
    executor.gate.clear()
    hints.give(CHAIN)
    await settle()
    for _ in range(1_000):
        hints.give(CHAIN)
    executor.gate.set()
    await settle()
    assert executor.hints == 3
    assert looked == ["chain-executor-1", "chain-executor-42161"]


async def test_an_executor_that_failed_is_looked_up_again(monkeypatch):
    actors = {"chain-executor-1": Executor(RayActorError())}
    living(monkeypatch, actors)
    hints = ExecutorHints()
    hints.give(CHAIN)
    await settle()
    actors["chain-executor-1"] = replaced = Executor()
    hints.give(CHAIN)
    await settle()
    assert replaced.hints == 1


async def test_nobody_there_is_no_error(monkeypatch):
    actors = {}
    living(monkeypatch, actors)
    hints = ExecutorHints()
    hints.give(CHAIN)
    await settle()
    actors["chain-executor-1"] = late = Executor()
    hints.give(CHAIN)
    await settle()
    assert late.hints == 1
