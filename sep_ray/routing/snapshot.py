"""The market of one chain at one block: what planners read, and all that they read."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sep_ray.kernel.units import ChainId, Token
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.pools.v3 import at_means
from sep_ray.routing.stops import StoppedPool

if TYPE_CHECKING:
    from sep_ray.routing.index import Index

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Pools and tokens at exactly one block. Immutable and picklable; share it freely.

    `base_fee_wei` is the block's own base fee. `wrapped_native` is the address of the token that
    stands for the chain's coin; without it gas has no price in tokens. `stopped` are pools that
    are not in `pools` because what is known of them cannot be trusted. `means` are mean ticks of
    V3 pools over the last minutes, by address, weighted by time. `taxed` are addresses of tokens
    that keep a part of what is moved: there is no pool of theirs in `pools`. What is worked out
    from all this is kept with it (`once`) and does not travel.
    """

    chain_id: ChainId
    block_number: int
    block_hash: str
    block_time_s: int
    base_fee_wei: int
    pools: tuple[Pool, ...]
    tokens: tuple[Token, ...]
    wrapped_native: str | None = None
    stopped: tuple[StoppedPool, ...] = ()
    means: tuple[tuple[str, int], ...] = ()
    taxed: tuple[str, ...] = ()
    _known: dict[str, Token] = field(init=False, repr=False, compare=False)
    _near: dict[str, dict[str, tuple[Pool, ...]]] = field(init=False, repr=False, compare=False)
    _made: dict[Hashable, Any] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        near: dict[str, dict[str, tuple[Pool, ...]]] = {}
        for pool in self.pools:
            for one, other in ((pool.token0, pool.token1), (pool.token1, pool.token0)):
                ways = near.setdefault(one, {})
                ways[other] = (*ways.get(other, ()), pool)
        object.__setattr__(self, "_near", near)
        object.__setattr__(self, "_known", {token.asset.address: token for token in self.tokens})

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (
            *(self.chain_id, self.block_number, self.block_hash, self.block_time_s),
            *(self.base_fee_wei, self.pools, self.tokens, self.wrapped_native),
            *(self.stopped, self.means, self.taxed),
        )

    def once(self, key: Hashable, build: Callable[[], Made]) -> Made:
        """Return what `build` makes of this market, made when first asked for and kept."""
        if key not in self._made:
            self._made[key] = build()
        made: Made = self._made[key]
        return made

    @property
    def index(self) -> Index:
        """The market as arrays."""
        from sep_ray.routing.index import build

        tokens = (token.asset.address for token in self.tokens)
        return self.once("index", lambda: build(tuple(tokens), self.pools))

    @property
    def at_means(self) -> Snapshot:
        """Only the pools with a time-weighted mean, as if they stood there."""
        return self.once(
            "at_means",
            lambda: replace(self, pools=at_means(self.pools, dict(self.means)), means=()),
        )

    def token(self, address: str) -> Token | None:
        """Return the token at a lower-case address, or None."""
        return self._known.get(address)

    def between(self, one: str, other: str) -> tuple[Pool, ...]:
        """Return the pools of a pair of tokens, in the snapshot's order."""
        return self._near.get(one, {}).get(other, ())

    def neighbours(self, token: str) -> tuple[str, ...]:
        """Return the tokens that share a pool with `token`, in the order they were first met."""
        return tuple(self._near.get(token, ()))


def _rebuilt(
    chain_id: ChainId,
    block_number: int,
    block_hash: str,
    block_time_s: int,
    base_fee_wei: int,
    pools: tuple[Pool, ...],
    tokens: tuple[Token, ...],
    wrapped_native: str | None,
    stopped: tuple[StoppedPool, ...],
    means: tuple[tuple[str, int], ...],
    taxed: tuple[str, ...],
) -> Snapshot:
    return Snapshot(
        chain_id=chain_id,
        block_number=block_number,
        block_hash=block_hash,
        block_time_s=block_time_s,
        base_fee_wei=base_fee_wei,
        pools=pools,
        tokens=tokens,
        wrapped_native=wrapped_native,
        stopped=stopped,
        means=means,
        taxed=taxed,
    )
