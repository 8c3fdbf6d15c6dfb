"""What is in use of limits, and how strategies do, in Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sep_ray.adapters.codec import decode_state, encode_state
from sep_ray.adapters.postgres.queries import SQL
from sep_ray.adapters.postgres.wire import Readers
from sep_ray.policy.marks import ChainMark, marked
from sep_ray.policy.usage import Marks, Slot


class MarkTable:
    """The tables limit_usage, chain_marks and strategy_marks."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def limit_usage(self, limit_ids: Sequence[str]) -> Mapping[str, tuple[Slot, ...]]:
        """See the port."""
        found: dict[str, tuple[Slot, ...]] = {}
        rows = await self._readers.rows(SQL["limit_usage"], list(limit_ids)) if limit_ids else []
        for row in rows:
            slot = Slot(start=row["slot"], amount=int(row["amount"]))
            found[row["limit_id"]] = (*found.get(row["limit_id"], ()), slot)
        return found

    async def chain_marks(self, strategy_id: str) -> tuple[ChainMark, ...]:
        """See the port."""
        rows = await self._readers.rows(SQL["chain_marks"], strategy_id)
        return tuple(decode_state(ChainMark, row["body"]) for row in rows)

    async def marks(self, strategy_ids: Sequence[str]) -> Mapping[str, Marks]:
        """See the port."""
        rows = await self._readers.rows(SQL["strategy_marks"], sorted(set(strategy_ids)))
        found = (decode_state(Marks, row["body"]) for row in rows)
        return {mark.strategy_id: mark for mark in found}

    async def keep_mark(self, mark: ChainMark) -> None:
        """See the port. Said twice it changes nothing more."""
        name = mark.strategy_id
        async with self._readers.transaction() as connection:
            await connection.execute(SQL["lock_mark"], name)
            body = encode_state(mark).decode()
            await connection.execute(SQL["write_chain_mark"], name, mark.chain_id, mark.at, body)
            chains = await connection.fetch(SQL["chain_marks"], name)
            kept = await connection.fetch(SQL["strategy_marks"], [name])
            before = decode_state(Marks, kept[0]["body"]) if kept else None
            rows = [decode_state(ChainMark, row["body"]) for row in chains]
            after = marked(before, rows, mark.at)
            if after is not None:
                await connection.execute(
                    SQL["write_strategy_mark"], name, encode_state(after).decode()
                )
