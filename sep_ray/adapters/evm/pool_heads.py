"""New heads of a chain as several endpoints tell them: one counts when enough of them have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import structlog

from sep_ray.adapters.evm.heads import HeadFeed, missed
from sep_ray.adapters.evm.pool import EndpointPool
from sep_ray.execution.ports import Head

log = structlog.get_logger()

VIEW: Final = 128
"""Blocks below an endpoint's newest that are remembered of it."""
WAITING: Final = 256


class Views:
    """Each endpoint's chain as it told it, and the head that `needed` of them share. Pure."""

    def __init__(self, needed: int) -> None:
        self._needed = needed
        self._views: dict[int, dict[int, Head]] = {}
        self._told: dict[int, Head] = {}
        self._last: Head | None = None

    def hear(self, place: int, head: Head) -> Head | None:
        """Take an endpoint's head; return it when it is news that enough endpoints share.

        News is another block at its number than the one told before, or one below the head told
        last once too few endpoints still have that one: the chain went back.
        """
        _note(self._views.setdefault(place, {}), head)
        if self._support(head) < self._needed:
            return None
        last, told = self._last, self._told.get(head.number)
        news = last is None or head.number > last.number or told not in (None, head)
        back = last is not None and head.number < last.number and self._support(last) < self._needed
        if not news and not back:
            return None
        _note(self._told, head)
        self._last = head
        return head

    def _support(self, head: Head) -> int:
        return sum(view.get(head.number) == head for view in self._views.values())


def _note(view: dict[int, Head], head: Head) -> None:
    """Put a head on a view: what stood at its number or above is gone."""
    for number in [n for n in view if n > head.number or n <= head.number - VIEW]:
        del view[number]
    view[head.number] = head


class PoolFeed:
    """Follows every endpoint with a feed of its own and yields what enough of them agree on."""

    def __init__(self, pool: EndpointPool, feeds: Sequence[HeadFeed]) -> None:
        self._pool = pool
        self._feeds = tuple(feeds)

    async def heads(self) -> AsyncGenerator[Head, None]:
        """Yield heads without end; see HeadFeed.heads."""
        views, last = Views(self._pool.needed), None
        news: asyncio.Queue[tuple[int, Head]] = asyncio.Queue(WAITING)
        tasks = [
            asyncio.create_task(_follow(place, feed, news))
            for place, feed in enumerate(self._feeds)
        ]
        try:
            while True:
                place, told = await news.get()
                head = views.hear(place, told)
                if head is None:
                    continue
                for each in await missed(self._pool, last, head):
                    yield each
                yield head
                last = head
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(place: int, feed: HeadFeed, news: asyncio.Queue[tuple[int, Head]]) -> None:
    async with aclosing(feed.heads()) as heads:
        async for head in heads:
            await news.put((place, head))
