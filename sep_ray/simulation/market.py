"""The chain that simulations and tests trade on: four pairs, one account, round numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sep_ray.adapters.memory.chain import MemoryChain
from sep_ray.engine.rules import ChainRules
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import NATIVE, Asset, ChainId, Token
from sep_ray.routing.pools.v2 import V2Pool

CHAIN: Final = ChainId(1)
START: Final = Millis(1_700_000_000_000)
ACCOUNTS: Final = ("0x" + "ac" * 20, "0x" + "ad" * 20, "0x" + "ae" * 20)
ACCOUNT: Final = ACCOUNTS[0]
WETH, USDC, DAI = (Asset(CHAIN, "0x" + digit * 40) for digit in "abd")
COIN: Final = Asset(CHAIN, NATIVE)
ETHER, DOLLAR, GWEI = 10**18, 10**6, 10**9
TOKENS: Final = (Token(WETH, "WETH", 18), Token(USDC, "USDC", 6), Token(DAI, "DAI", 18))
RULES: Final = ChainRules(
    chain_id=CHAIN,
    coin=COIN,
    tokens=(WETH, USDC, DAI),
    numeraire=USDC,
    block_time_ms=1_000,
    confirmations=2,
    reorg_depth=2,
    stall_blocks=3,
    patience_blocks=3,
)


def deep_pool(one: Asset, other: Asset, reserves: tuple[int, int], mark: str) -> V2Pool:
    """Build a pair of two assets."""
    (token0, reserve0), (token1, reserve1) = sorted(
        [(one.address, reserves[0]), (other.address, reserves[1])]
    )
    return V2Pool(
        address="0x" + mark * 20,
        token0=token0,
        token1=token1,
        reserve0=reserve0,
        reserve1=reserve1,
    )


def market() -> list[V2Pool]:
    """2,000 dollars an ether, twice, and dollars for dollars."""
    return [
        deep_pool(WETH, USDC, (5_000 * ETHER, 10_000_000 * DOLLAR), "01"),
        deep_pool(WETH, USDC, (3_000 * ETHER, 6_000_000 * DOLLAR), "02"),
        deep_pool(USDC, DAI, (5_000_000 * DOLLAR, 5_000_000 * ETHER), "03"),
        deep_pool(WETH, DAI, (1_000 * ETHER, 2_000_000 * ETHER), "04"),
    ]


def shock(chain: MemoryChain, percent: int = 90) -> None:
    """Move the price of WETH against sellers in every pool, as somebody else's trade would."""
    pools = chain.newest.after.pools
    for address, pair in list(pools.items()):
        if WETH.address == pair.token0:
            pools[address] = replace(pair, reserve1=pair.reserve1 * percent // 100)
