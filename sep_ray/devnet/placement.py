"""Puts real contracts at their real addresses on a blank chain.

A contract is placed by letting its own constructor run at the wanted address: creation code is
set there, called once to learn the runtime (immutables filled), run by a transaction for its
storage and events, and replaced by the runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from sep_ray.adapters.bridges.addresses import ARBITRUM_BRIDGE, SPOKE_POOLS
from sep_ray.adapters.evm.addresses import BOOKS, ETHEREUM, ChainBook
from sep_ray.devnet.packages import Artifact, Bundle
from sep_ray.devnet.rpc import Rpc, call_data, encode_arguments
from sep_ray.kernel.errors import InvariantBroken

BANK: Final = "0x" + keccak(text="sep-ray devnet bank")[-20:].hex()
"""Owns and mints everything on a local chain. Nobody has its key: the node acts for it."""

V4_SWAPS: Final = "0x" + keccak(text="sep-ray devnet PoolSwapTest")[-20:].hex()
"""V4 swaps with a price limit, which no public router offers. For who moves local markets."""

_LOST: Final = "0x" + keccak(text="sep-ray devnet lost and found")[-20:].hex()
_PROXY_ADMIN: Final = "0x" + keccak(text="sep-ray devnet proxy admin")[-20:].hex()
_SIGNATURE_CHECKER: Final = "0x" + keccak(text="sep-ray devnet SignatureChecker")[-20:].hex()
_USDC_CODE: Final = "0x" + keccak(text="sep-ray devnet FiatTokenV2_2")[-20:].hex()
_ARBITRUM_WETH_CODE: Final = "0x" + keccak(text="sep-ray devnet aeWETH")[-20:].hex()
_POSITION_DESCRIPTOR: Final = "0x91ae842a5ffd8d12023116943e72a606179294f3"
_V2_PAIR_HASH: Final = "96e8ac4277198ff8b6f785478aa9a39f403cb768dd02cbee326c3e7da348845f"
_V3_POOL_HASH: Final = "e34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54"
_UNSUBSCRIBE_GAS: Final = 300_000
_NOBODY: Final = "0x" + "00" * 20
_BANK_COIN: Final = 10**30
_MAX: Final = 2**256 - 1

_DOMAIN_TYPE: Final = "EIP712Domain(string name,uint256 chainId,address verifyingContract)"
_CHAIN_ID_SITE: Final = bytes.fromhex("467f")
_SEPARATOR_SITE: Final = bytes.fromhex("03611b69577f")


class Placer:
    """Places contracts of one bundle on one chain."""

    def __init__(self, rpc: Rpc, bundle: Bundle) -> None:
        self._rpc = rpc
        self._bundle = bundle

    def place(
        self, name: str, address: str, *arguments: Any, types: str = "()", links: str | None = None
    ) -> None:
        """Run a contract's constructor at `address` as BANK; links is its one library's address."""
        creation = linked(self._bundle.contracts[name], links)
        creation += encode_arguments(types, arguments).hex()
        self._rpc("anvil_setCode", address, "0x" + creation)
        transaction = {"from": BANK, "to": address}
        runtime = self._rpc("eth_call", transaction, "latest")
        self._rpc.transact([transaction])
        self._rpc("anvil_setCode", address, runtime)
        self._rpc("anvil_setNonce", address, "0x1")

    def code_hash(self, name: str) -> bytes:
        """Keccak256 of a contract's creation code, as CREATE2 uses it."""
        return bytes(keccak(hexstr=self._bundle.contracts[name].bytecode))

    def place_runtime(self, address: str, code: bytes) -> None:
        """Put finished runtime code at `address`."""
        self._rpc("anvil_setCode", address, "0x" + code.hex())
        self._rpc("anvil_setNonce", address, "0x1")

    def send(self, to: str, signature: str, *arguments: Any, sender: str = BANK) -> dict[str, Any]:
        """Build a call as a transaction of `sender`."""
        return {"from": sender, "to": to, "data": call_data(signature, *arguments)}


def linked(artifact: Artifact, library: str | None) -> str:
    """Return creation code with the library's address in all its places."""
    code = artifact.bytecode
    for places in artifact.links.values():
        if library is None:
            raise InvariantBroken("contract needs a library", name=artifact.name)
        for start in places:
            code = code[: start * 2] + library.removeprefix("0x") + code[start * 2 + 40 :]
    return code


def place_core(rpc: Rpc, bundle: Bundle, book: ChainBook) -> None:
    """Place tokens, Uniswap V2, V3 and V4, Permit2 and Multicall3 at the addresses of `book`.

    BANK becomes owner and minter of everything that has one.
    """
    rpc("anvil_setBalance", BANK, hex(_BANK_COIN))
    for actor in (BANK, _PROXY_ADMIN):
        rpc("anvil_impersonateAccount", actor)
    placer = Placer(rpc, bundle)
    _place_weth(rpc, placer, book)
    _place_usdc(rpc, placer, book.usdc)
    for symbol, address, decimals in (
        ("USDT", book.usdt, 6),
        ("WBTC", book.wbtc, 8),
        ("DAI", book.dai, 18),
    ):
        arguments = (_NAMES[symbol], symbol, decimals)
        placer.place("ExpandedERC20", address, *arguments, types="(string,string,uint8)")
        rpc.transact([placer.send(address, "addMember(uint256,address)", 1, BANK)])
    _place_uniswap(rpc, placer, book)
    permit2 = bytes.fromhex(bundle.contracts["Permit2"].bytecode)
    placer.place_runtime(book.permit2, permit2_runtime(permit2, book.chain_id, book.permit2))
    multicall3 = bytes.fromhex(bundle.contracts["Multicall3"].bytecode)
    placer.place_runtime(book.multicall3, multicall3)
    _place_v4(placer, book)


_NAMES: Final = {"USDT": "Tether USD", "WBTC": "Wrapped BTC", "DAI": "Dai Stablecoin"}


def _place_weth(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    """Arbitrum's WETH is the canonical bridge's own, behind a proxy."""
    if book.chain_id == ETHEREUM:
        placer.place("WETH9", book.weth)
        return
    placer.place("aeWETH", _ARBITRUM_WETH_CODE)
    start = "initialize(string,string,uint8,address,address)"
    names, gateway = ("Wrapped Ether", "WETH", 18), ARBITRUM_BRIDGE.l2_weth_gateway
    data = call_data(start, *names, gateway, BOOKS[ETHEREUM].weth)
    arguments = (_ARBITRUM_WETH_CODE, bytes.fromhex(data[2:]))
    placer.place("ERC1967Proxy", book.weth, *arguments, types="(address,bytes)")


def _place_usdc(rpc: Rpc, placer: Placer, usdc: str) -> None:
    placer.place("SignatureChecker", _SIGNATURE_CHECKER)
    placer.place("FiatTokenV2_2", _USDC_CODE, links=_SIGNATURE_CHECKER)
    placer.place("FiatTokenProxy", usdc, _USDC_CODE, types="(address)")
    initialize = "initialize(string,string,string,uint8,address,address,address,address)"
    names = ("USD Coin", "USDC", "USD", 6)
    rpc.transact(
        [
            # the proxy's admin cannot call through it, so BANK stops being the admin first
            placer.send(usdc, "changeAdmin(address)", _PROXY_ADMIN),
            placer.send(usdc, initialize, *names, BANK, BANK, BANK, BANK),
            placer.send(usdc, "initializeV2(string)", "USD Coin"),
            placer.send(usdc, "initializeV2_1(address)", _LOST),
            placer.send(usdc, "initializeV2_2(address[],string)", [], "USDC"),
            placer.send(usdc, "configureMinter(address,uint256)", BANK, _MAX),
        ]
    )


def _place_uniswap(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    two, three = "(address,address)", "(address,address,address)"
    placer.place("UniswapV2Factory", book.v2_factory, BANK, types="(address)")
    placer.place("UniswapV2Router02", book.v2_router, book.v2_factory, book.weth, types=two)
    placer.place("UniswapV3Factory", book.v3_factory)
    rpc.transact([placer.send(book.v3_factory, "enableFeeAmount(uint24,int24)", 100, 1)])
    around: Sequence[str] = (book.v3_factory, book.weth)
    placer.place(
        "NonfungiblePositionManager",
        book.v3_positions,
        *around,
        _POSITION_DESCRIPTOR,
        types=three,
    )
    placer.place("QuoterV2", book.v3_quoter, *around, types=two)
    placer.place("TickLens", book.v3_tick_lens)
    routed = (book.swap_router02_v2_factory, book.v3_factory, book.v3_positions, book.weth)
    placer.place(
        "SwapRouter02", book.swap_router02, *routed, types="(address,address,address,address)"
    )


def _place_v4(placer: Placer, book: ChainBook) -> None:
    placer.place("PoolManager", book.v4_pools, BANK, types="(address)")
    positions = (book.v4_pools, book.permit2, _UNSUBSCRIBE_GAS, _NOBODY, book.weth)
    types = "(address,address,uint256,address,address)"
    placer.place("PositionManager", book.v4_positions, *positions, types=types)
    placer.place("V4Quoter", book.v4_quoter, book.v4_pools, types="(address)")
    placer.place("StateView", book.v4_state, book.v4_pools, types="(address)")
    placer.place("PoolSwapTest", V4_SWAPS, book.v4_pools, types="(address)")
    tokens_and_factories = (book.permit2, book.weth, book.v2_factory, book.v3_factory)
    hashes = (bytes.fromhex(_V2_PAIR_HASH), bytes.fromhex(_V3_POOL_HASH))
    others = (book.v4_pools, book.v3_positions, book.v4_positions, SPOKE_POOLS[book.chain_id])
    placer.place(
        "UniversalRouter",
        book.universal_router,
        *(*tokens_and_factories, *hashes, *others),
        types="(address,address,address,address,bytes32,bytes32,address,address,address,address)",
    )


def domain_separator(chain_id: int, permit2: str) -> bytes:
    """Permit2's EIP-712 domain separator: name and verifying contract, no version."""
    words = (keccak(text=_DOMAIN_TYPE), keccak(text="Permit2"), chain_id, permit2)
    return bytes(keccak(encode(["bytes32", "bytes32", "uint256", "address"], words)))


def permit2_runtime(code: bytes, chain_id: int, address: str) -> bytes:
    """Fill Permit2's immutables as its constructor does: chain id and cached separator."""
    filled = _fill(code, _CHAIN_ID_SITE, chain_id.to_bytes(32, "big"))
    return _fill(filled, _SEPARATOR_SITE, domain_separator(chain_id, address))


def _fill(code: bytes, before: bytes, word: bytes) -> bytes:
    if code.count(before + bytes(32)) != 1:
        raise InvariantBroken("Permit2 has another layout than the pinned one")
    return code.replace(before + bytes(32), before + word)
