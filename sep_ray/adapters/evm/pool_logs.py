"""What pools say about themselves: the logs that lead from one block's state to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sep_ray.adapters.evm.abi import event_topic, words
from sep_ray.kernel.errors import Transient

SYNC: Final = event_topic("Sync(uint112,uint112)")
V3_SWAP: Final = event_topic("Swap(address,address,int256,int256,uint160,uint128,int24)")
V3_START: Final = event_topic("Initialize(uint160,int24)")
MINT: Final = event_topic("Mint(address,address,int24,int24,uint128,uint256,uint256)")
BURN: Final = event_topic("Burn(address,int24,int24,uint128,uint256,uint256)")
V4_SWAP: Final = event_topic("Swap(bytes32,address,int128,int128,uint160,uint128,int24,uint24)")
V4_START: Final = event_topic(
    "Initialize(bytes32,address,address,uint24,int24,address,uint160,int24)"
)
V4_MODIFY: Final = event_topic("ModifyLiquidity(bytes32,address,int24,int24,int256,bytes32)")
V4_FEE: Final = event_topic("ProtocolFeeUpdated(bytes32,uint24)")

POOL_TOPICS: Final = (SYNC, V3_SWAP, V3_START, MINT, BURN)
MANAGER_TOPICS: Final = (V4_SWAP, V4_START, V4_MODIFY, V4_FEE)
"""The PoolManager's: the pool is the first indexed argument."""


@dataclass(frozen=True, slots=True)
class Reserves:
    """A V2 pair holds this much of each token now."""

    reserve0: int
    reserve1: int


@dataclass(frozen=True, slots=True)
class Priced:
    """A pool with ticks stands here now; `liquidity` None: it was not said (it just began)."""

    sqrt_price: int
    tick: int
    liquidity: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """Liquidity added to (or, negative, taken from) the ticks lower..upper of a pool."""

    lower: int
    upper: int
    liquidity: int


@dataclass(frozen=True, slots=True)
class FeeSet:
    """A V4 pool's protocol fee was changed: its swaps cost something else from now on."""

    fee: int


What = Reserves | Priced | Change | FeeSet


@dataclass(frozen=True, slots=True)
class PoolLog:
    """One log: its pool (address, or V4's id), its place, and what it says."""

    pool: str
    block_number: int
    block_hash: str
    log_index: int
    what: What

    @property
    def place(self) -> tuple[str, int]:
        """What tells this log from any other."""
        return self.block_hash, self.log_index


def signed(value: int) -> int:
    """Read a word as a two's complement integer."""
    return value - (1 << 256) if value >> 255 else value


def parse_log(raw: dict[str, Any]) -> PoolLog:
    """Read a log that one of the topics above brought. Raises Transient where it makes no sense."""
    try:
        topics = [topic.lower() for topic in raw["topics"]]
        data = words(bytes.fromhex(raw["data"][2:]))
        managed = topics[0] in MANAGER_TOPICS
        return PoolLog(
            pool=topics[1] if managed else raw["address"].lower(),
            block_number=int(raw["blockNumber"], 16),
            block_hash=raw["blockHash"].lower(),
            log_index=int(raw["logIndex"], 16),
            what=_what(topics, data),
        )
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise Transient("a pool's log makes no sense", why=repr(error)) from None


def _what(topics: list[str], data: list[int]) -> What:
    """Read the arguments as the event's signature lays them out."""
    name = topics[0]
    if name in (V3_SWAP, V4_SWAP):
        return Priced(data[2], signed(data[4]), data[3])
    if name in (V3_START, V4_START):
        price, tick = data[0:2] if name == V3_START else data[3:5]
        return Priced(price, signed(tick), None)
    if name == V4_MODIFY:
        return Change(signed(data[0]), signed(data[1]), signed(data[2]))
    if name in (MINT, BURN):
        lower, upper = (signed(int(topic, 16)) for topic in topics[2:4])
        return Change(lower, upper, data[1] if name == MINT else -data[0])
    return Reserves(data[0], data[1]) if name == SYNC else FeeSet(data[0])
