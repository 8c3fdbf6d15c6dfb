"""Group commit: alone at once, together when many come, never more than the limit (P12)."""

import asyncio

import pytest

from sep_ray.adapters.postgres.batching import Batcher
from sep_ray.kernel.errors import Rejected, Transient


class Disk:
    """Notes what is written together; a write takes as long as the gate is closed."""

    def __init__(self):
        self.batches, self.gate = [], asyncio.Event()
        self.gate.set()

    async def flush(self, batch):
        self.batches.append(list(batch))
        await self.gate.wait()
        return [Rejected("odd") if isinstance(each, int) and each % 2 else each for each in batch]


async def arrive(batcher, request, turns):
    """Hand in a request after so many turns of the loop, as one that is on its way does."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return await batcher.submit(request)


async def test_who_comes_alone_is_written_at_once():
    disk = Disk()
    batcher = Batcher(disk.flush, limit=10)
    for request in ("a", "b"):
        assert await batcher.submit(request) == request
    assert disk.batches == [["a"], ["b"]]


async def test_what_comes_while_one_is_written_goes_together():
    disk = Disk()
    batcher = Batcher(disk.flush, limit=10)
    disk.gate.clear()
    first = asyncio.create_task(batcher.submit("a"))
    await asyncio.sleep(0.01)
    rest = [asyncio.create_task(batcher.submit(each)) for each in "bcd"]
    await asyncio.sleep(0.01)
    disk.gate.set()
    assert await asyncio.gather(first, *rest) == list("abcd")
    assert disk.batches == [["a"], ["b", "c", "d"]]


async def test_a_busy_batcher_lets_in_who_is_on_the_way():
    disk = Disk()
    batcher = Batcher(disk.flush, limit=100)
    await asyncio.gather(
        *(batcher.submit(n) for n in (0, 2)),
        *(arrive(batcher, 2 * n, turns=n) for n in range(2, 30)),
    )
    assert len(disk.batches) < 6
    assert sorted(each for batch in disk.batches for each in batch) == list(range(0, 60, 2))


async def test_a_batch_holds_no_more_than_its_limit():
    disk = Disk()
    batcher = Batcher(disk.flush, limit=7)
    await asyncio.gather(*(batcher.submit(2 * n) for n in range(50)))
    assert max(map(len, disk.batches)) == 7
    assert sum(map(len, disk.batches)) == 50


async def test_each_gets_its_own_answer_and_a_broken_write_reaches_all():
    disk = Disk()
    batcher = Batcher(disk.flush, limit=10)
    answers = await asyncio.gather(*map(batcher.submit, range(4)), return_exceptions=True)
    assert [isinstance(each, Rejected) for each in answers] == [False, True, False, True]

    async def broken(_):
        raise Transient("the disk is gone")

    batcher = Batcher(broken, limit=10)
    answers = await asyncio.gather(*map(batcher.submit, range(3)), return_exceptions=True)
    assert all(isinstance(each, Transient) for each in answers)
    with pytest.raises(Transient):
        await batcher.submit(4)


async def test_a_caller_that_left_is_not_written():
    disk = Disk()
    batcher = Batcher(disk.flush, limit=10)
    disk.gate.clear()
    first = asyncio.create_task(batcher.submit("a"))
    await asyncio.sleep(0.01)
    gone, stays = (asyncio.create_task(batcher.submit(each)) for each in "bc")
    await asyncio.sleep(0.01)
    gone.cancel()
    disk.gate.set()
    assert list(await asyncio.gather(first, stays)) == ["a", "c"]
    await batcher.close()
    assert disk.batches == [["a"], ["c"]]
