"""Across's dataworker: root bundles that repay relayers, pay slow fills and refund depositors.

As the real one, it derives a bundle from logs up to the blocks that its proposal names, and from
the proposals before. So a restart, or another worker, comes to the same leaves. There is no
dispute on local chains; where a reorganisation changed what a bundle is made of, the owner deletes
the proposal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from sep_ray.adapters.bridges.across import FILLED_RELAY, FUNDS_DEPOSITED, RELAY, Relay
from sep_ray.adapters.bridges.addresses import ARBITRUM, ETHEREUM, HUB_POOL, SPOKE_POOLS
from sep_ray.adapters.bridges.reading import Event, Log, unpadded
from sep_ray.devnet.bridges import merkle
from sep_ray.devnet.bridges.accounts import DATAWORKER
from sep_ray.devnet.bridges.local import LocalChain
from sep_ray.devnet.placement import BANK
from sep_ray.kernel.units import ChainId

PROPOSED: Final = Event(
    signature="ProposeRootBundle(uint32,uint8,uint256[],bytes32,bytes32,bytes32,address)",
    data=("uint32", "uint8", "uint256[]", "bytes32"),
)
DELETED: Final = Event(
    signature="EmergencyRootBundleDeleted(bytes32,bytes32,bytes32,address)", data=("bytes32",)
)
RELAYED: Final = Event(signature="RelayedRootBundle(uint32,bytes32,bytes32)", data=())
SLOW_REQUESTED: Final = Event(
    signature=(
        "RequestedSlowFill(bytes32,bytes32,uint256,uint256,uint256,uint256,uint32,uint32,bytes32,"
        "bytes32,bytes32,bytes32)"
    ),
    data=(),
)
REFUND_LEAF: Final = "(uint256,uint256,uint256[],uint32,address,address[])"
SLOW_LEAF: Final = f"({RELAY},uint256,uint256)"
POOL_LEAF: Final = "(uint256,uint256[],int256[],int256[],uint256,uint8,address[])"
_ORDER: Final = (ETHEREUM, ARBITRUM)
_SLOW_BY_BUNDLE: Final = 2
"""FillType SlowFill: nobody is to be repaid for it."""

Ends = tuple[int, int]
"""The last block of Ethereum and of Arbitrum that a bundle looks at."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one bundle pays: refund leaves and slow fill leaves, as the contracts' structs."""

    refunds: tuple[tuple[Any, ...], ...]
    slow_fills: tuple[tuple[Any, ...], ...]

    def refund_hashes(self) -> list[bytes]:
        return [keccak(encode([REFUND_LEAF], [leaf])) for leaf in self.refunds]

    def slow_hashes(self) -> list[bytes]:
        return [keccak(encode([SLOW_LEAF], [leaf])) for leaf in self.slow_fills]

    def roots(self) -> tuple[bytes, bytes]:
        return merkle.root(self.refund_hashes()), merkle.root(self.slow_hashes())


@dataclass(frozen=True, slots=True)
class _Proposal:
    ends: Ends
    roots: tuple[bytes, bytes]


@dataclass(slots=True)
class DataworkerKnobs:
    """paused: no bundle is proposed or executed."""

    paused: bool = False


class Dataworker:
    """Proposes a bundle when something is owed, executes it after its liveness."""

    def __init__(
        self, chains: Mapping[ChainId, LocalChain], knobs: DataworkerKnobs | None = None
    ) -> None:
        self.knobs = knobs or DataworkerKnobs()
        self._chains = chains
        self._hub = chains[ETHEREUM]

    def step(self) -> None:
        """Do the next thing: pay leaves, execute what is live, propose what is owed."""
        if self.knobs.paused:
            return
        # before the logs: what stands now is among them, unless it is not in a block yet
        standing = self._hub.rpc.read(
            HUB_POOL,
            "rootBundleProposal()",
            returns="(bytes32,bytes32,bytes32,uint256,address,uint8,uint32)",
        )
        proposals = self._proposals()
        self._pay(proposals)
        if standing[5]:
            self._execute(proposals, standing)
        else:
            self._propose(proposals)

    def _proposals(self) -> list[_Proposal]:
        """Return all proposals in order, but for deleted ones."""
        found: list[_Proposal] = []
        for log in self._hub.logs(HUB_POOL, [None]):
            if log.topics[0] == DELETED.topic:
                (slow_root,) = log.values(DELETED.data)
                gone = (bytes.fromhex(log.topics[2][2:]), slow_root)
                found = _without_last(found, gone)
            elif log.topics[0] == PROPOSED.topic:
                _, _, ends, slow_root = log.values(PROPOSED.data)
                roots = (bytes.fromhex(log.topics[2][2:]), slow_root)
                found.append(_Proposal((ends[0], ends[1]), roots))
        return found

    def _propose(self, proposals: list[_Proposal]) -> None:
        since = proposals[-1].ends if proposals else (0, 0)
        ends = (self._chains[ETHEREUM].head()[0], self._chains[ARBITRUM].head()[0])
        bundle = self._bundle(since, ends)
        if not bundle.refunds and not bundle.slow_fills:
            return
        weth = self._hub.book.weth
        self._hub.allow(DATAWORKER, weth, HUB_POOL)
        self._hub.act(
            DATAWORKER,
            HUB_POOL,
            "proposeRootBundle(uint256[],uint8,bytes32,bytes32,bytes32)",
            *(list(ends), len(_ORDER), merkle.root(_pool_hashes()), *bundle.roots()),
        )

    def _execute(self, proposals: list[_Proposal], standing: tuple[Any, ...]) -> None:
        roots = (standing[1], standing[2])
        bundle = self._known(proposals).get(roots)
        if bundle is None:
            if any(each.roots == roots for each in proposals):
                self._hub.act(BANK, HUB_POOL, "emergencyDeleteProposal()")
            return
        if self._hub.now() <= standing[6]:
            return
        hashes = _pool_hashes()
        for leaf_id, chain_id in enumerate(_ORDER):
            self._hub.act(
                DATAWORKER,
                HUB_POOL,
                "executeRootBundle(uint256,uint256,uint256[],int256[],int256[],uint8,address[],"
                "bytes32[])",
                *(chain_id, 0, [], [], [], leaf_id, [], merkle.path(hashes, leaf_id)),
            )

    def _pay(self, proposals: list[_Proposal]) -> None:
        """Execute the leaves of every bundle that has reached a spoke pool."""
        bundles: dict[tuple[bytes, bytes], Bundle] | None = None
        for chain in self._chains.values():
            pool = SPOKE_POOLS[chain.chain_id]
            for log in chain.logs(pool, [RELAYED.topic]):
                bundles = self._known(proposals) if bundles is None else bundles
                refund_root, slow_root = (bytes.fromhex(each[2:]) for each in log.topics[2:4])
                bundle = bundles.get((refund_root, slow_root))
                if bundle is not None:
                    self._pay_leaves(chain, pool, int(log.topics[1], 16), bundle)

    def _pay_leaves(self, chain: LocalChain, pool: str, bundle_id: int, bundle: Bundle) -> None:
        refunds, slow_fills = bundle.refund_hashes(), bundle.slow_hashes()
        for index, leaf in enumerate(bundle.refunds):
            if leaf[1] == chain.chain_id:
                chain.act(
                    DATAWORKER,
                    pool,
                    f"executeRelayerRefundLeaf(uint32,{REFUND_LEAF},bytes32[])",
                    *(bundle_id, leaf, merkle.path(refunds, index)),
                )
        for index, leaf in enumerate(bundle.slow_fills):
            if leaf[1] == chain.chain_id:
                chain.act(
                    DATAWORKER,
                    pool,
                    f"executeSlowRelayLeaf({SLOW_LEAF},uint32,bytes32[])",
                    *(leaf, bundle_id, merkle.path(slow_fills, index)),
                )

    def _known(self, proposals: list[_Proposal]) -> dict[tuple[bytes, bytes], Bundle]:
        """Derive every proposal's bundle anew; leave out those that come out otherwise."""
        found, since = {}, (0, 0)
        for proposal in proposals:
            bundle = self._bundle(since, proposal.ends)
            if bundle.roots() == proposal.roots:
                found[proposal.roots] = bundle
            since = proposal.ends
        return found

    def _bundle(self, since: Ends, ends: Ends) -> Bundle:
        """Say what is owed for what happened after `since` and up to `ends`."""
        first = dict(zip(_ORDER, since, strict=True))
        last = dict(zip(_ORDER, ends, strict=True))
        deposits = list(self._deposits(last))
        filled = {
            (relay.origin, relay.deposit_id): log for relay, log in self._fills(deposits, last)
        }
        owed: dict[tuple[ChainId, str], dict[str, int]] = {}
        for relay in deposits:
            fill = filled.get((relay.origin, relay.deposit_id))
            for chain_id, token, account, units in self._owed(relay, fill, first, last):
                each = owed.setdefault((chain_id, token), {})
                each[account] = each.get(account, 0) + units
        refunds = tuple(
            (0, chain_id, list(paid.values()), leaf_id, token, list(paid))
            for leaf_id, ((chain_id, token), paid) in enumerate(sorted(owed.items()))
        )
        slow_fills = tuple(
            (relay.fields(), relay.destination, relay.output_amount)
            for relay in deposits
            if (relay.origin, relay.deposit_id) not in filled
            and self._asked_slow(relay, first, last)
        )
        return Bundle(refunds, slow_fills)

    def _deposits(self, last: Mapping[ChainId, int]) -> Iterator[Relay]:
        for chain_id, chain in self._chains.items():
            topics = [FUNDS_DEPOSITED.topic]
            for log in chain.logs(SPOKE_POOLS[chain_id], topics, last[chain_id]):
                relay = Relay.read(log, chain_id)
                if relay.destination in self._chains:
                    yield relay

    def _fills(
        self, deposits: list[Relay], last: Mapping[ChainId, int]
    ) -> Iterator[tuple[Relay, Log]]:
        by_name = {(relay.origin, relay.deposit_id): relay for relay in deposits}
        for chain_id, chain in self._chains.items():
            for log in chain.logs(SPOKE_POOLS[chain_id], [FILLED_RELAY.topic], last[chain_id]):
                relay = by_name.get((ChainId(int(log.topics[1], 16)), int(log.topics[2], 16)))
                if relay is not None and relay.is_filled_by(log):
                    yield relay, log

    def _owed(
        self,
        relay: Relay,
        fill: Log | None,
        first: Mapping[ChainId, int],
        last: Mapping[ChainId, int],
    ) -> list[tuple[ChainId, str, str, int]]:
        """Return (chain, token, account, units): a relayer's repayment, or a depositor's refund."""
        there = relay.destination
        if fill is None:
            chain = self._chains[there]
            began = chain.time_of(first[there]) if first[there] else 0
            if began <= relay.fill_deadline < chain.time_of(last[there]):
                return [(relay.origin, relay.input_token, relay.depositor, relay.input_amount)]
            return []
        said = fill.values(FILLED_RELAY.data)
        by_bundle = said[-1][3] == _SLOW_BY_BUNDLE
        if by_bundle or not first[there] < fill.block_number <= last[there]:
            return []
        relayer = unpadded(bytes.fromhex(fill.topics[3][2:]))
        return [(relay.origin, relay.input_token, relayer, relay.input_amount)]

    def _asked_slow(
        self, relay: Relay, first: Mapping[ChainId, int], last: Mapping[ChainId, int]
    ) -> bool:
        chain, there = self._chains[relay.destination], relay.destination
        number = f"0x{relay.deposit_id:064x}"
        topics = [SLOW_REQUESTED.topic, f"0x{relay.origin:064x}", number]
        asked = chain.logs(SPOKE_POOLS[there], topics, last[there])
        in_time = chain.time_of(last[there]) <= relay.fill_deadline
        return in_time and any(first[there] < log.block_number for log in asked)


def _without_last(proposals: list[_Proposal], roots: tuple[bytes, bytes]) -> list[_Proposal]:
    """Leave out the last proposal of these roots; deleting what does not stand names none."""
    for index in reversed(range(len(proposals))):
        if proposals[index].roots == roots:
            return proposals[:index] + proposals[index + 1 :]
    return proposals


def _pool_hashes() -> list[bytes]:
    """The pool rebalance leaves: one for each chain, moving nothing between them."""
    return [
        keccak(encode([POOL_LEAF], [(chain_id, [], [], [], 0, leaf_id, [])]))
        for leaf_id, chain_id in enumerate(_ORDER)
    ]
