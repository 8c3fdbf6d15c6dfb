"""Where the contracts and tokens we use are on each chain.

Sources: Uniswap's deployment pages for V2, V3, V4 and Permit2, the Uniswap default token list for
tokens. Local chains place the same contracts at these addresses, so one book serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sep_ray.kernel.units import NATIVE, Asset, ChainId, Token

ETHEREUM: Final = ChainId(1)
ARBITRUM: Final = ChainId(42161)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainBook:
    """Contract addresses of one chain, lower case.

    swap_router02_v2_factory is the V2 factory that SwapRouter02 was built with. On Arbitrum it is
    not the canonical one, so V2 trades there go through v2_router or the Universal Router.
    v4_pools is the PoolManager, which holds every V4 pool; v4_state the StateView that reads them.
    """

    chain_id: ChainId
    weth: str
    usdc: str
    usdt: str
    wbtc: str
    dai: str
    v2_factory: str
    v2_router: str
    v3_factory: str
    v3_positions: str
    v3_quoter: str
    v3_tick_lens: str
    swap_router02: str
    swap_router02_v2_factory: str
    v4_pools: str
    v4_positions: str
    v4_quoter: str
    v4_state: str
    universal_router: str
    permit2: str = "0x000000000022d473030f116ddee9f6b43ac78ba3"
    multicall3: str = "0xca11bde05977b3631167028862be2a173976ca11"

    def tokens(self) -> tuple[Token, ...]:
        """The tokens we know here, the chain's own coin first."""
        listed = [
            (NATIVE, "ETH", 18),
            (self.weth, "WETH", 18),
            (self.usdc, "USDC", 6),
            (self.usdt, "USDT", 6),
            (self.wbtc, "WBTC", 8),
            (self.dai, "DAI", 18),
        ]
        return tuple(
            Token(Asset(self.chain_id, address), symbol, decimals)
            for address, symbol, decimals in listed
        )

    def token(self, symbol: str) -> Token:
        """Return a token by its symbol; KeyError if the chain has none of that name."""
        return {each.symbol: each for each in self.tokens()}[symbol]


BOOKS: Final[Mapping[ChainId, ChainBook]] = MappingProxyType(
    {
        ETHEREUM: ChainBook(
            chain_id=ETHEREUM,
            weth="0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2",
            usdc="0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
            usdt="0xdac17f958d2ee523a2206206994597c13d831ec7",
            wbtc="0x2260fac5e5542a773aa44fbcfedf7c193bc2c599",
            dai="0x6b175474e89094c44da98b954eedeac495271d0f",
            v2_factory="0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f",
            v2_router="0x7a250d5630b4cf539739df2c5dacb4c659f2488d",
            v3_factory="0x1f98431c8ad98523631ae4a59f267346ea31f984",
            v3_positions="0xc36442b4a4522e871399cd717abdd847ab11fe88",
            v3_quoter="0x61ffe014ba17989e743c5f6cb21bf9697530b21e",
            v3_tick_lens="0xbfd8137f7d1516d3ea5ca83523914859ec47f573",
            swap_router02="0x68b3465833fb72a70ecdf485e0e4c7bd8665fc45",
            swap_router02_v2_factory="0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f",
            v4_pools="0x000000000004444c5dc75cb358380d2e3de08a90",
            v4_positions="0xbd216513d74c8cf14cf4747e6aaa6420ff64ee9e",
            v4_quoter="0x52f0e24d1c21c8a0cb1e5a5dd6198556bd9e1203",
            v4_state="0x7ffe42c4a5deea5b0fec41c94c136cf115597227",
            universal_router="0x66a9893cc07d91d95644aedd05d03f95e1dba8af",
        ),
        ARBITRUM: ChainBook(
            chain_id=ARBITRUM,
            weth="0x82af49447d8a07e3bd95bd0d56f35241523fbab1",
            usdc="0xaf88d065e77c8cc2239327c5edb3a432268e5831",
            usdt="0xfd086bc7cd5c481dcc9c85ebe478a1c0b69fcbb9",
            wbtc="0x2f2a2543b76a4166549f7aab2e75bef0aefc5b0f",
            dai="0xda10009cbd5d07dd0cecc66161fc93d7c9000da1",
            v2_factory="0xf1d7cc64fb4452f05c498126312ebe29f30fbcf9",
            v2_router="0x4752ba5dbc23f44d87826276bf6fd6b1c372ad24",
            v3_factory="0x1f98431c8ad98523631ae4a59f267346ea31f984",
            v3_positions="0xc36442b4a4522e871399cd717abdd847ab11fe88",
            v3_quoter="0x61ffe014ba17989e743c5f6cb21bf9697530b21e",
            v3_tick_lens="0xbfd8137f7d1516d3ea5ca83523914859ec47f573",
            swap_router02="0x68b3465833fb72a70ecdf485e0e4c7bd8665fc45",
            swap_router02_v2_factory="0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f",
            v4_pools="0x360e68faccca8ca495c1b759fd9eee466db9fb32",
            v4_positions="0xd88f38f930b7952f2db2432cb002e7abbf3dd869",
            v4_quoter="0x3972c00f7ed4885e145823eb7c655375d275a1c5",
            v4_state="0x76fd297e2d437cd7f76d50f01afe6160f86e9990",
            universal_router="0xa51afafe0263b40edaef0df8781ea9aa03e381a3",
        ),
    }
)

TOKENS: Final[Mapping[Asset, Token]] = MappingProxyType(
    {token.asset: token for book in BOOKS.values() for token in book.tokens()}
)
"""Every token of every chain, by asset: the registry that reads and writes decimal amounts."""
