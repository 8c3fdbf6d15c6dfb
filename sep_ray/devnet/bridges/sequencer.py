"""Arbitrum's sequencer and its validators: tickets down, confirmed roots up.

What the node does by itself happens here through the stand-ins: coin that the inbox took above is
made below, the ticket is created and run once, and a root over all messages whose challenge period
is over is confirmed above. The whole ticket fee is kept; a real node gives back what was not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sep_ray.adapters.bridges.addresses import ARBITRUM, ARBITRUM_BRIDGE, ETHEREUM
from sep_ray.adapters.bridges.arbitrum import SENT_UP, TICKET_CREATED
from sep_ray.adapters.bridges.reading import Log
from sep_ray.adapters.bridges.tickets import DELIVERED, Submission, submissions
from sep_ray.devnet.bridges.accounts import SEQUENCER, named
from sep_ray.devnet.bridges.local import LocalChain
from sep_ray.devnet.placement import BANK
from sep_ray.kernel.units import ChainId

CHALLENGE_S: Final = 552_960
"""6.4 days: 45,818 blocks of Ethereum, what Arbitrum One's assertions wait."""
_EMPTY: Final = bytes(32)
_OVERHEAD_GAS: Final = 500_000


@dataclass(slots=True)
class SequencerKnobs:
    """How it behaves; may be turned while it works.

    `latency_s` from the inbox to the ticket; `runs`: tickets are run when created; `run_gas` caps
    what a run may use (too little makes it fail); `challenge_s` until a message can be executed.
    """

    latency_s: int = 2
    paused: bool = False
    runs: bool = True
    run_gas: int = 2**63
    challenge_s: int = CHALLENGE_S


class Sequencer:
    """Carries messages between the two local chains."""

    def __init__(
        self, chains: Mapping[ChainId, LocalChain], knobs: SequencerKnobs | None = None
    ) -> None:
        self.knobs = knobs or SequencerKnobs()
        self._above, self._below = chains[ETHEREUM], chains[ARBITRUM]

    def step(self) -> None:
        """Create the tickets that are due; confirm the messages whose time is over."""
        if self.knobs.paused:
            return
        self._deliver()
        self._confirm()

    def _deliver(self) -> None:
        there = ARBITRUM_BRIDGE
        known = {
            log.topics[1] for log in self._below.logs(there.arb_retryable, [TICKET_CREATED.topic])
        }
        now = self._above.now()
        delivered = self._above.logs(there.inbox, [DELIVERED.topic])
        for tx_hash in dict.fromkeys(log.tx_hash for log in delivered):
            logs = self._above.logs_of(tx_hash)
            if now - self._above.time_of(logs[0].block_number) < self.knobs.latency_s:
                continue
            for each in submissions(logs, there.inbox, there.bridge):
                if each.ticket_id(ARBITRUM) not in known:
                    self._create(each)

    def _create(self, each: Submission) -> None:
        """Make the ticket, and the coin it carries, on the child chain."""
        rpc, ticket = self._below.rpc, bytes.fromhex(each.ticket_id(ARBITRUM)[2:])
        if rpc("eth_getCode", each.sender, "latest") == "0x":
            code = rpc("eth_getCode", named("AliasStandIn"), "latest")
            rpc("anvil_setCode", each.sender, code)
        gas = each.gas_limit if self.knobs.runs else 0
        gas = min(gas, self.knobs.run_gas)
        if each.call_value:
            rpc("anvil_addBalance", SEQUENCER, hex(each.call_value))
        self._below.act(
            SEQUENCER,
            ARBITRUM_BRIDGE.arb_retryable,
            "submit(bytes32,address,address,address,uint256,bytes)",
            *(ticket, each.sender, each.to, each.value_refund, gas, each.data),
            value=each.call_value,
            gas=gas + _OVERHEAD_GAS + 1_000 * len(each.data),
        )

    def _confirm(self) -> None:
        now = self._above.now()
        sent = self._below.logs(ARBITRUM_BRIDGE.arb_sys, [SENT_UP.topic])
        due = [log for log in sent if _sent_at(log) + self.knobs.challenge_s <= now]
        if not due:
            return
        last = max(due, key=lambda log: int(log.topics[3], 16))
        size = int(last.topics[3], 16) + 1
        _, root, _ = self._below.rpc.read(
            ARBITRUM_BRIDGE.node_interface,
            "constructOutboxProof(uint64,uint64)",
            *(size, size - 1),
            returns="(bytes32,bytes32,bytes32[])",
        )
        outbox = ARBITRUM_BRIDGE.outbox
        if self._above.rpc.read(outbox, "roots(bytes32)", root, returns="(bytes32)") == _EMPTY:
            block_hash = bytes.fromhex(last.block_hash[2:])
            self._above.act(BANK, outbox, "updateSendRoot(bytes32,bytes32)", root, block_hash)


def _sent_at(log: Log) -> int:
    timestamp: int = log.values(SENT_UP.data)[3]
    return timestamp
