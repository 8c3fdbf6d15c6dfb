"""Puts the bridges' contracts on a blank chain that already has its tokens.

Constructor arguments, initialisers and the order follow each project's own deployment scripts.
BANK owns what has an owner. What only exists inside Arbitrum's node has stand-ins, see
../solidity/ArbStandIns.sol; CCTP, whose code nobody publishes, has AttestedBurn.sol.
"""

from __future__ import annotations

from typing import Any, Final

from sep_ray.adapters.bridges.addresses import (
    ARBITRUM_BRIDGE,
    CCTP,
    HUB_POOL,
    HYPERLANE,
    SPOKE_POOLS,
    SYNTHETIC_WBTC,
    alias,
)
from sep_ray.adapters.evm.addresses import ARBITRUM, BOOKS, ETHEREUM, ChainBook
from sep_ray.devnet.bridges.accounts import ATTESTERS, SEQUENCER, SERVANTS, VALIDATOR, named, signer
from sep_ray.devnet.packages import Bundle
from sep_ray.devnet.placement import BANK, Placer
from sep_ray.devnet.rpc import Rpc, call_data
from sep_ray.kernel.units import ChainId

ZERO: Final = "0x" + 40 * "0"
LIVENESS_S: Final = 1_800
"""How long an Across root bundle may be disputed; the contract wants more than 600."""
QUOTE_BUFFER_S: Final = 3_600
FILL_BUFFER_S: Final = 21_600
HYPERLANE_FEE_WEI: Final = 10**12
MAX_DATA: Final = 117_964
_BOND: Final = 5 * 10**17
_COIN: Final = 10**24
_FLOAT: Final = {"USDC": 50_000_000 * 10**6, "WETH": 20_000 * 10**18}
"""What stands ready in each spoke pool, router and relayer."""
_BRIDGED_COIN: Final = 10**27
"""What the bridge holds for the coin that is on Arbitrum from the start."""
_SUBMISSION_WEI: Final = 10**17
_WETH_ROUTE: Final = ([BOOKS[ETHEREUM].weth], [ARBITRUM_BRIDGE.l1_weth_gateway])
_UMA: Final = {
    name: named(f"UMA {name}") for name in ("Finder", "Store", "Whitelist", "Identifiers", "Oracle")
}


def place_bridges(rpc: Rpc, bundle: Bundle, book: ChainBook) -> None:
    """Place all four bridges' ends on one chain."""
    placer = Placer(rpc, bundle)
    for servant in SERVANTS:
        rpc("anvil_setBalance", servant, hex(_COIN))
    if book.chain_id == ETHEREUM:
        _place_arbitrum_parent(rpc, placer, book)
        _place_across_hub(rpc, placer, book)
    else:
        _place_arbitrum_child(rpc, placer, book)
        _place_across_spoke(placer, book)
    _place_hyperlane(rpc, placer, book)
    _place_cctp(rpc, placer, book)
    _stock(rpc, placer, book)


def _proxied(placer: Placer, proxy: str, name: str, address: str, initialise: str) -> None:
    """Place a proxy before an implementation that was just placed; initialise: call data."""
    placer.place(
        proxy, address, named(name), bytes.fromhex(initialise[2:]), types="(address,bytes)"
    )


def _place_arbitrum_parent(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    there = ARBITRUM_BRIDGE
    placer.place("Bridge", named("Bridge"))
    placer.place("Inbox", named("Inbox"), MAX_DATA, types="(uint256)")
    placer.place("Outbox", named("Outbox"))
    rpc("anvil_setBalance", there.bridge, hex(_BRIDGED_COIN))
    bank = call_data("initialize(address)", BANK)
    _proxied(placer, "ERC1967Proxy", "Bridge", there.bridge, bank)
    both = call_data("initialize(address,address)", there.bridge, ZERO)
    _proxied(placer, "ERC1967Proxy", "Inbox", there.inbox, both)
    bridge = call_data("initialize(address)", there.bridge)
    _proxied(placer, "ERC1967Proxy", "Outbox", there.outbox, bridge)
    placer.place("L1GatewayRouter", there.l1_router)
    placer.place("L1ERC20Gateway", there.l1_erc20_gateway)
    placer.place("L1WethGateway", there.l1_weth_gateway)
    weth = BOOKS[ARBITRUM].weth
    route = "setGateways(address[],address[],uint256,uint256,uint256)"
    rpc.transact(
        [
            placer.send(there.bridge, "setDelayedInbox(address,bool)", there.inbox, True),
            placer.send(there.bridge, "setOutbox(address,bool)", there.outbox, True),
            placer.send(
                there.l1_router,
                "initialize(address,address,address,address,address)",
                *(BANK, there.l1_erc20_gateway, ZERO, there.l2_router, there.inbox),
            ),
            placer.send(
                there.l1_weth_gateway,
                "initialize(address,address,address,address,address)",
                *(there.l2_weth_gateway, there.l1_router, there.inbox, book.weth, weth),
            ),
            placer.send(
                there.l1_erc20_gateway,
                "initialize(address,address,address,bytes32,address)",
                *(there.l2_erc20_gateway, there.l1_router, there.inbox),
                *(placer.code_hash("ClonableBeaconProxy"), named("BeaconProxyFactory")),
            ),
            {
                **placer.send(there.l1_router, route, *_WETH_ROUTE, 0, 0, _SUBMISSION_WEI),
                "value": hex(_SUBMISSION_WEI),
            },
        ]
    )


def _place_arbitrum_child(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    there = ARBITRUM_BRIDGE
    placer.place("ArbSysStandIn", there.arb_sys)
    placer.place("ArbRetryableStandIn", there.arb_retryable, SEQUENCER, types="(address)")
    placer.place("NodeInterfaceStandIn", there.node_interface)
    placer.place("AliasStandIn", named("AliasStandIn"))
    placer.place("L2GatewayRouter", there.l2_router)
    placer.place("L2ERC20Gateway", there.l2_erc20_gateway)
    placer.place("L2WethGateway", there.l2_weth_gateway)
    placer.place("StandardArbERC20", named("StandardArbERC20"))
    placer.place("BeaconStandIn", named("Beacon"), named("StandardArbERC20"), types="(address)")
    placer.place("BeaconProxyFactory", named("BeaconProxyFactory"))
    weth = BOOKS[ETHEREUM].weth
    rpc.transact(
        [
            placer.send(named("BeaconProxyFactory"), "initialize(address)", named("Beacon")),
            placer.send(
                there.l2_router,
                "initialize(address,address)",
                *(there.l1_router, there.l2_erc20_gateway),
            ),
            placer.send(
                there.l2_erc20_gateway,
                "initialize(address,address,address)",
                *(there.l1_erc20_gateway, there.l2_router, named("BeaconProxyFactory")),
            ),
            placer.send(
                there.l2_weth_gateway,
                "initialize(address,address,address,address)",
                *(there.l1_weth_gateway, there.l2_router, weth, book.weth),
            ),
        ]
    )
    # what the parent's router was told reaches the child's from its alias
    router = alias(there.l1_router)
    rpc("anvil_setBalance", router, hex(_COIN))
    rpc("anvil_impersonateAccount", router)
    set_gateway = "setGateway(address[],address[])"
    tokens, _ = _WETH_ROUTE
    rpc.transact(
        [placer.send(there.l2_router, set_gateway, tokens, [there.l2_weth_gateway], sender=router)]
    )
    rpc("anvil_setBalance", router, "0x0")


def _place_across_hub(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    for name, contract in (
        ("Finder", "MockFinder"),
        ("Store", "MockStore"),
        ("Whitelist", "MockAddressWhitelist"),
        ("Identifiers", "MockIdentifierWhitelist"),
    ):
        placer.place(contract, _UMA[name])
    placer.place(
        "MockOptimisticOracle", _UMA["Oracle"], 7_200, _UMA["Store"], types="(uint256,address)"
    )
    factory, store = named("Across LpTokenFactory"), named("Across AdapterStore")
    placer.place("LpTokenFactory", factory)
    placer.place(
        "HubPool",
        HUB_POOL,
        *(factory, _UMA["Finder"], book.weth, ZERO),
        types="(address,address,address,address)",
    )
    placer.place(
        "Ethereum_SpokePool",
        named("Ethereum_SpokePool"),
        *(book.weth, QUOTE_BUFFER_S, FILL_BUFFER_S, ZERO),
        types="(address,uint32,uint32,address)",
    )
    hub = call_data("initialize(uint32,address)", 0, HUB_POOL)
    spoke = SPOKE_POOLS[ETHEREUM]
    _proxied(placer, "AcrossProxy", "Ethereum_SpokePool", spoke, hub)
    placer.place("AdapterStore", store)
    placer.place("Ethereum_Adapter", named("Ethereum_Adapter"))
    placer.place(
        "Arbitrum_Adapter",
        named("Arbitrum_Adapter"),
        *(ARBITRUM_BRIDGE.inbox, ARBITRUM_BRIDGE.l1_router, BANK, book.usdc),
        *(ZERO, store, 30_110, 10**18),
        types="(address,address,address,address,address,address,uint32,uint256)",
    )
    rpc.transact([placer.send(spoke, "transferOwnership(address)", HUB_POOL)])
    _open_hub(rpc, placer, book)


def _open_hub(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    """Name chains and tokens, put the bond in place, and give liquidity."""

    def hub(signature: str, *arguments: Any) -> dict[str, Any]:
        return placer.send(HUB_POOL, signature, *arguments)

    named_by = {
        b"Store": "Store",
        b"CollateralWhitelist": "Whitelist",
        b"IdentifierWhitelist": "Identifiers",
        b"SkinnyOptimisticOracle": "Oracle",
    }
    finder = "changeImplementationAddress(bytes32,address)"
    routes = "setPoolRebalanceRoute(uint256,address,address)"
    ends = "setCrossChainContracts(uint256,address,address)"
    amounts = {"WETH": 1_000 * 10**18, "USDC": 3_000_000 * 10**6}
    calls = [
        placer.send(_UMA["Finder"], finder, name.ljust(32, b"\0"), _UMA[at])
        for name, at in named_by.items()
    ]
    calls += [
        placer.send(_UMA["Whitelist"], "addToWhitelist(address)", book.weth),
        hub("setBond(address,uint256)", book.weth, _BOND),
        hub("setLiveness(uint32)", LIVENESS_S),
        hub(ends, ETHEREUM, named("Ethereum_Adapter"), SPOKE_POOLS[ETHEREUM]),
        hub(ends, ARBITRUM, named("Arbitrum_Adapter"), SPOKE_POOLS[ARBITRUM]),
        {
            "from": BANK,
            "to": HUB_POOL,
            "value": hex(100 * 10**18),
            "data": call_data("loadEthForL2Calls()"),
        },
        {
            "from": BANK,
            "to": book.weth,
            "value": hex(10_000 * 10**18),
            "data": call_data("deposit()"),
        },
        placer.send(book.usdc, "mint(address,uint256)", BANK, amounts["USDC"]),
    ]
    for symbol, units in amounts.items():
        token = book.token(symbol).asset.address
        there = BOOKS[ARBITRUM].token(symbol).asset.address
        calls += [
            placer.send(token, "approve(address,uint256)", HUB_POOL, units),
            hub("enableL1TokenForLiquidityProvision(address)", token),
            hub("addLiquidity(address,uint256)", token, units),
            hub(routes, ETHEREUM, token, token),
            hub(routes, ARBITRUM, token, there),
        ]
    rpc.transact(calls)


def _place_across_spoke(placer: Placer, book: ChainBook) -> None:
    placer.place(
        "Arbitrum_SpokePool",
        named("Arbitrum_SpokePool"),
        *(book.weth, QUOTE_BUFFER_S, FILL_BUFFER_S, book.usdc, ZERO, 0, 0, ZERO),
        types="(address,uint32,uint32,address,address,uint32,uint256,address)",
    )
    hub = call_data(
        "initialize(uint32,address,address,address)",
        *(0, ARBITRUM_BRIDGE.l2_router, HUB_POOL, HUB_POOL),
    )
    _proxied(placer, "AcrossProxy", "Arbitrum_SpokePool", SPOKE_POOLS[ARBITRUM], hub)


def _place_hyperlane(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    here = HYPERLANE[book.chain_id]
    placer.place("Mailbox", here.mailbox, book.chain_id, types="(uint32)")
    placer.place("MerkleTreeHook", here.merkle_hook, here.mailbox, types="(address)")
    placer.place(
        "ProtocolFee",
        here.fee_hook,
        *(10**16, HYPERLANE_FEE_WEI, BANK, BANK),
        types="(uint256,uint256,address,address)",
    )
    placer.place(
        "StorageMessageIdMultisigIsm", here.ism, [signer(VALIDATOR)], 1, types="(address[],uint8)"
    )
    start = "initialize(address,address,address,address)"
    rpc.transact(
        [placer.send(here.mailbox, start, BANK, here.ism, here.merkle_hook, here.fee_hook)]
    )
    other = ARBITRUM if book.chain_id == ETHEREUM else ETHEREUM
    for (token, router), (_, remote) in zip(
        here.routes.items(), HYPERLANE[other].routes.items(), strict=True
    ):
        _place_route(rpc, placer, book.chain_id, token, router)
        enrol = placer.send(router, "enrollRemoteRouter(uint32,bytes32)", other, _padded(remote))
        gas = placer.send(router, "setDestinationGas(uint32,uint256)", other, 200_000)
        rpc.transact([enrol, gas])


def _place_route(rpc: Rpc, placer: Placer, chain_id: ChainId, token: str, router: str) -> None:
    mailbox = HYPERLANE[chain_id].mailbox
    if router == SYNTHETIC_WBTC:
        placer.place("HypERC20", router, 8, 1, mailbox, types="(uint8,uint256,address)")
        start = "initialize(uint256,string,string,address,address,address)"
        names = (0, "Synthetic BTC", "hypWBTC")
        rpc.transact([placer.send(router, start, *names, ZERO, ZERO, BANK)])
        return
    placer.place("HypERC20Collateral", router, token, 1, mailbox, types="(address,uint256,address)")
    rpc.transact([placer.send(router, "initialize(address,address,address)", ZERO, ZERO, BANK)])


def _place_cctp(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    here = CCTP[book.chain_id]
    placer.place(
        "AttestedTransmitter", here.transmitter, BANK, here.domain, types="(address,uint32)"
    )
    placer.place(
        "AttestedMessenger",
        here.messenger,
        *(BANK, here.transmitter, book.usdc),
        types="(address,address,address)",
    )
    attesters = [signer(name) for name in ATTESTERS]
    rpc.transact(
        [
            placer.send(here.transmitter, "setAttesters(address[],uint256)", attesters, 2),
            *(
                placer.send(
                    here.messenger,
                    "addRemoteTokenMessenger(uint32,bytes32)",
                    *(there.domain, _padded(there.messenger)),
                )
                for chain_id, there in CCTP.items()
                if chain_id != book.chain_id
            ),
            placer.send(book.usdc, "configureMinter(address,uint256)", here.messenger, 2**255),
        ]
    )


def _stock(rpc: Rpc, placer: Placer, book: ChainBook) -> None:
    """Give relayers, spoke pool and USDC router what they pay out first."""
    router = HYPERLANE[book.chain_id].routes[book.usdc]
    coin = 4 * _FLOAT["WETH"]
    calls = [
        {"from": BANK, "to": book.weth, "value": hex(coin), "data": call_data("deposit()")},
        placer.send(book.usdc, "mint(address,uint256)", router, _FLOAT["USDC"]),
    ]
    for holder in (*SERVANTS[:3], SPOKE_POOLS[book.chain_id]):
        calls.append(placer.send(book.usdc, "mint(address,uint256)", holder, _FLOAT["USDC"]))
        calls.append(placer.send(book.weth, "transfer(address,uint256)", holder, _FLOAT["WETH"]))
    rpc.transact(calls)


def _padded(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])
