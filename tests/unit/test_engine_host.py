"""An engine runs beside its mailbox: it retries what may pass, and stays down when broken."""

import asyncio
import os
import threading

import pytest

from actors import host as host_module
from actors.host import EngineHost
from sep_ray.kernel.errors import InvariantBroken, Transient
from tests.fixtures.eventually import eventually


def test_a_call_is_answered_on_the_engines_loop_while_it_works() -> None:
    async def main(stop: asyncio.Event) -> None:
        host.running()
        await stop.wait()

    async def where() -> str:
        return threading.current_thread().name

    host = EngineHost("engine-a", main)
    eventually(lambda: host.status()["state"] == "running")
    assert host.call(where(), timeout_s=5.0) == "engine-a"
    host.stop(timeout_s=5.0)
    assert host.status()["state"] == "stopped"


def test_what_may_pass_is_tried_again() -> None:
    tries: list[int] = []

    async def main(stop: asyncio.Event) -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            raise Transient("not yet")
        host.running()
        await stop.wait()

    host = EngineHost("engine-b", main)
    eventually(lambda: host.status() == {"name": "engine-b", "state": "running", "starts": 3})
    host.stop(timeout_s=5.0)


def test_pauses_grow_until_it_has_worked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def waited(_: asyncio.Event, timeout_s: float) -> None:
        pauses.append(timeout_s)

    async def main(stop: asyncio.Event) -> None:
        if len(pauses) in (3, 5):
            host.running()
        if len(pauses) < 5:
            raise Transient("the database is gone")
        await stop.wait()

    monkeypatch.setattr(host_module, "_wait", waited)
    host = EngineHost("engine-p", main)
    eventually(lambda: host.status()["state"] == "running" and len(pauses) == 5)
    host.stop(timeout_s=5.0)
    assert pauses == [0.1, 0.2, 0.4, 0.1, 0.2]


def test_a_broken_invariant_stops_the_engine_for_good() -> None:
    async def main(stop: asyncio.Event) -> None:
        raise InvariantBroken("wrong")

    host = EngineHost("engine-c", main)
    eventually(lambda: host.status()["state"] == "broken")
    assert host.status()["starts"] == 1


def test_a_nice_engine_gives_way_and_its_mailbox_does_not() -> None:
    found: list[int] = []

    async def main(stop: asyncio.Event) -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        await stop.wait()

    host = EngineHost("engine-n", main, niceness=5)
    eventually(lambda: bool(found))
    host.stop(5.0)
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert found == [max(own, 5)]
    assert own == os.getpriority(os.PRIO_PROCESS, 0)
