"""Where the bridges' contracts are on each chain, lower case.

Sources: the deployed addresses that Across's contracts package lists, Hyperlane's registry,
Arbitrum's token bridge documentation, Circle's CCTP V2 pages. Local chains place the same
contracts there. Hyperlane's token routes are ours: everybody deploys their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from eth_hash.auto import keccak

from sep_ray.kernel.units import Asset, ChainId

ETHEREUM: Final = ChainId(1)
ARBITRUM: Final = ChainId(42161)
ALIAS_OFFSET: Final = 0x1111000000000000000000000000000000001111
"""What Arbitrum adds to a contract's address when that contract sends it a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperlaneBook:
    """Hyperlane on one chain; the domain is the chain id. routes: token -> our router of it."""

    mailbox: str
    merkle_hook: str
    fee_hook: str
    ism: str
    routes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CctpBook:
    """CCTP V2 on one chain, with Circle's number for it and the token it burns and mints."""

    domain: int
    messenger: str
    transmitter: str
    usdc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbitrumBook:
    """The canonical bridge between Ethereum and Arbitrum One."""

    inbox: str = "0x4dbd4fc535ac27206064b68ffcf827b0a60bab3f"
    bridge: str = "0x8315177ab297ba92a06054ce80a67ed4dbd7ed3a"
    outbox: str = "0x0b9857ae2d4a3dbe74ffe1d7df045bb7f96e4840"
    l1_router: str = "0x72ce9c846789fdb6fc1f34ac4ad25dd9ef7031ef"
    l1_erc20_gateway: str = "0xa3a7b6f88361f48403514059f1f16c8e78d60eec"
    l1_weth_gateway: str = "0xd92023e9d9911199a6711321d1277285e6d4e2db"
    l2_router: str = "0x5288c571fd7ad117bea99bf60fe0846c4e84f933"
    l2_erc20_gateway: str = "0x09e9222e96e7b4ae2a407b98d48e330053351eee"
    l2_weth_gateway: str = "0x6c411ad3e74de3e7bd422b94a27770f5b86c623b"
    arb_sys: str = "0x0000000000000000000000000000000000000064"
    arb_retryable: str = "0x000000000000000000000000000000000000006e"
    node_interface: str = "0x00000000000000000000000000000000000000c8"


HUB_POOL: Final = "0xc186fa914353c44b2e33ebe05f21846f1048beda"
SPOKE_POOLS: Final[Mapping[ChainId, str]] = MappingProxyType(
    {
        ETHEREUM: "0x5c7bcd6e7de5423a257d81b442095a1a6ced35c5",
        ARBITRUM: "0xe35e9842fceaca96570b734083f4a58e8f7c5f2a",
    }
)
ARBITRUM_BRIDGE: Final = ArbitrumBook()

_USDC: Final = {
    ETHEREUM: "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
    ARBITRUM: "0xaf88d065e77c8cc2239327c5edb3a432268e5831",
}
_WETH: Final = {
    ETHEREUM: "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2",
    ARBITRUM: "0x82af49447d8a07e3bd95bd0d56f35241523fbab1",
}
_WBTC: Final = "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599"


def _ours(name: str) -> str:
    """A contract of our own deployment."""
    return "0x" + keccak(f"sep-ray {name}".encode())[-20:].hex()


SYNTHETIC_WBTC: Final = _ours("Hyperlane synthetic WBTC")
"""Our synthetic WBTC on Arbitrum: what Hyperlane's WBTC route mints there."""

HYPERLANE: Final[Mapping[ChainId, HyperlaneBook]] = MappingProxyType(
    {
        ETHEREUM: HyperlaneBook(
            mailbox="0xc005dc82818d67af737725bd4bf75435d065d239",
            merkle_hook="0x48e6c30b97748d1e2e03bf3e9fbe3890ca5f8cca",
            fee_hook="0x8b05bf30f6247a90006c5837ea63c7905d79e6d8",
            ism=_ours("Hyperlane ISM on Ethereum"),
            routes={
                _USDC[ETHEREUM]: _ours("Hyperlane USDC route on Ethereum"),
                _WBTC: _ours("Hyperlane WBTC route on Ethereum"),
            },
        ),
        ARBITRUM: HyperlaneBook(
            mailbox="0x979ca5202784112f4738403dbec5d0f3b9daabb9",
            merkle_hook="0x748040afb89b8fdbb992799808215419d36a0930",
            fee_hook="0xd0199067dacb8526e7dc524a9a7dcbb57cd25421",
            ism=_ours("Hyperlane ISM on Arbitrum"),
            routes={
                _USDC[ARBITRUM]: _ours("Hyperlane USDC route on Arbitrum"),
                SYNTHETIC_WBTC: SYNTHETIC_WBTC,
            },
        ),
    }
)

CCTP: Final[Mapping[ChainId, CctpBook]] = MappingProxyType(
    {
        chain_id: CctpBook(
            domain=domain,
            messenger="0x28b5a0e9c621a5badaa536219b3a228c8168cf5d",
            transmitter="0x81d40f21f12a8f0e3252bccb954d722d4c464b64",
            usdc=_USDC[chain_id],
        )
        for chain_id, domain in ((ETHEREUM, 0), (ARBITRUM, 3))
    }
)

ACROSS_PAIRS: Final = frozenset(
    (Asset(source, tokens[source]), Asset(target, tokens[target]))
    for tokens in (_USDC, _WETH)
    for source, target in ((ETHEREUM, ARBITRUM), (ARBITRUM, ETHEREUM))
)
"""What Across moves between our chains: (sent, received)."""


def alias(address: str) -> str:
    """Return the address a parent-chain contract has when it sends to Arbitrum."""
    return f"0x{(int(address, 16) + ALIAS_OFFSET) % 2**160:040x}"
