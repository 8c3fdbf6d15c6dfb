"""What a replica refuses whatever it says: too much at once, and what may be read two ways."""

import asyncio
import json

import pytest

from sep_ray.adapters.memory import MemoryStore
from sep_ray.kernel.clock import ManualClock
from tests.fixtures.api import ACQUIRE, NOW, bench, problem_of


class Waiting(MemoryStore):
    """A store whose commits wait until they are let through; `full` says that three do."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.full = asyncio.Event()
        self.through = asyncio.Event()
        self.waiting = 0

    async def accept(self, batch, at):
        self.waiting += 1
        if self.waiting == 3:
            self.full.set()
        await self.through.wait()
        return await super().accept(batch, at)


async def test_p12_beyond_its_bound_a_replica_answers_429_and_health_still_answers(monkeypatch):
    monkeypatch.setattr("serve_app.api.MOST_REQUESTS", 3)
    store = Waiting(ManualClock(NOW))
    async with bench(store) as api:
        first = [asyncio.create_task(api.submit()) for _ in range(3)]
        await store.full.wait()
        answer = await api.submit()
        problem_of(answer, 429, "busy")
        assert answer.headers["retry-after"] == "1"
        assert (await api.client.get("/metrics")).status_code == 200
        store.through.set()
        assert [(await task).status_code for task in first] == [202] * 3
        assert (await api.submit()).status_code == 202
        assert len(await api.intents()) == 4


@pytest.mark.parametrize("path", ["/v1/intents", "/v1/intents/batch", "/v1/plans"])
async def test_a_key_that_is_said_twice_is_refused(path):
    said = json.dumps(ACQUIRE)[:-1] + ', "amount": "1000"}'
    body = f'{{"intents": [{said}]}}' if path.endswith("batch") else said
    async with bench() as api:
        sent = api.auth() | {"content-type": "application/json"}
        answer = await api.client.post(path, content=body, headers=sent)
        found = problem_of(answer, 400, "invalid_json")
        assert found["detail"] == "amount is said twice in one object"
        assert await api.events() == ()
