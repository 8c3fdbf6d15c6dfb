"""How far a fact of the chain can be relied on. Pure.

Confirmed: deep enough for what it is worth; an intent may end on it. Final: nothing that this
platform follows can undo it; only now may what had no effect be tried again (P3). Between the two
a reorganisation withdraws the fact (P7) and opens the intent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sep_ray.execution.ports import Head, Settled


class Tag(StrEnum):
    """The chain's own word that is waited for besides depth."""

    NONE = "none"
    SAFE = "safe"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityRule:
    """What a chain's facts are asked.

    * `confirmations`: blocks on top of a fact's own, whatever it is worth
    * `value_step`: units of account for which one more is asked; None asks for no more
    * `most`: the largest number of blocks asked for
    * `reorg_depth`: the depth down to which reorganisations are followed
    * `tag`: the chain's word that the block must be covered by as well
    """

    confirmations: int = 2
    value_step: int | None = None
    most: int = 64
    reorg_depth: int = 12
    tag: Tag = Tag.NONE

    def depth(self, value: int | None) -> int:
        """Return how many blocks on top confirm a fact of this value (units of account).

        None means that nobody can tell the value: then as many as are ever asked for.
        """
        if self.value_step is None:
            wanted = self.confirmations
        elif value is None:
            wanted = max(self.confirmations, self.most)
        else:
            wanted = min(self.confirmations + value // self.value_step, self.most)
            wanted = max(wanted, self.confirmations)
        return wanted

    def confirms(self, block: int, head: Head, settled: Settled | None, value: int | None) -> bool:
        """Whether a fact in a canonical block is confirmed, by depth and the chain's own word.

        A chain that does not say what it was asked confirms nothing.
        """
        if head.number - block < self.depth(value):
            return False
        if self.tag is Tag.NONE:
            return True
        word = None
        if settled is not None:
            word = settled.safe if self.tag is Tag.SAFE else settled.final
        return word is not None and block <= word.number

    def ends(self, block: int, head: Head, settled: Settled | None, value: int | None) -> bool:
        """Whether a fact in a canonical block is final."""
        deep = head.number - block >= self.reorg_depth
        return deep and self.confirms(block, head, settled, value)

    @property
    def last(self) -> int:
        """Blocks after which a fact without value is final where the chain has no word on it."""
        return max(self.depth(0), self.reorg_depth)
