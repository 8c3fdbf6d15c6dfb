"""Which blocks are part of a chain, asked so that one false answer says nothing."""

from __future__ import annotations

from collections.abc import Iterable

from sep_ray.execution.ports import Chain

Block = tuple[int, str]
"""Number and hash."""


async def standing(chain: Chain, blocks: Iterable[Block], last: int) -> set[Block]:
    """Return those of these blocks that are part of the chain; blocks above `last` are not read.

    A block stands when it, or the one after it, says so: one false header must neither make a fork
    look deeper than it is nor withdraw what stands (P7).
    """
    wanted = set(blocks)
    asked = sorted({n for at, _ in wanted for n in (at, at + 1) if n <= last})
    if not asked:
        return set()
    headers = zip(asked, await chain.headers(asked), strict=True)
    known = {number: header for number, header in headers if header is not None}
    named = {(number, header.hash) for number, header in known.items()}
    named |= {(number - 1, header.parent_hash) for number, header in known.items()}
    return wanted & named
