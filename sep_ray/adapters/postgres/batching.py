"""Group commit: what arrives while one batch is being written goes into the next, together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from sep_ray.kernel.errors import SepError, Transient

Q = TypeVar("Q")
A = TypeVar("A")

MAX_WAITING: Final = 100_000
"""Units that may wait; beyond that the caller is told to come back (P12)."""

TURNS: Final = 4
"""Turns of the event loop that a request takes from its socket to here, about."""


class Batcher(Generic[Q, A]):
    """Collects requests and hands them to `flush` in batches, one batch at a time.

    No timer: an idle batcher writes at once, a busy one writes all that came meanwhile, and what
    is about to come: callers that can run are let in first. `flush` returns, for each request in
    order, an answer or the error that one caller gets; what it raises, all get. `weigh` says how
    many units a request counts for; a batch holds about `limit` units.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Q]], Awaitable[Sequence[A | SepError]]],
        *,
        limit: int,
        weigh: Callable[[Q], int] = lambda _: 1,
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._weigh = weigh
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._units = 0
        self._task: asyncio.Task[None] | None = None

    async def submit(self, request: Q) -> A:
        """Return the request's answer, or raise its error. Transient when too many wait.

        A caller that is cancelled while waiting leaves; one whose batch is being written may
        have been served.
        """
        if self._units >= MAX_WAITING:
            raise Transient("too many writes are waiting", waiting=self._units)
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._units += self._weigh(request)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await answer

    async def close(self) -> None:
        """Write what still waits, then end."""
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        while batch := self._take():
            try:
                answers = await self._flush([request for request, _ in batch])
            except asyncio.CancelledError:
                for _, answer in batch:
                    answer.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - every caller gets it; none may hang
                for _, answer in batch:
                    _settle(answer, error)
                continue
            for (_, answer), given in zip(batch, answers, strict=True):
                _settle(answer, given)
            if len(batch) > 1:
                await self._let_in()

    async def _let_in(self) -> None:
        """Let other tasks run for as long as they bring requests, up to a full batch."""
        before = -1
        while before < len(self._waiting) and self._units < self._limit:
            before = len(self._waiting)
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        units = 0
        while self._waiting and units < self._limit:
            request, answer = self._waiting.popleft()
            weight = self._weigh(request)
            self._units -= weight
            if not answer.cancelled():
                units += weight
                batch.append((request, answer))
        return batch


def _settle(answer: asyncio.Future[A], given: A | Exception) -> None:
    if answer.done():
        return
    if isinstance(given, Exception):
        answer.set_exception(given)
    else:
        answer.set_result(given)
