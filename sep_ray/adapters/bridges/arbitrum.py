"""Arbitrum's own bridge: down by a retryable ticket, up by a proof after the challenge period.

Contracts: the gateway router and gateways of @arbitrum/token-bridge-contracts, Inbox and Outbox of
@arbitrum/nitro-contracts, the precompiles ArbSys, ArbRetryableTx and NodeInterface. Going down, a
ticket whose automatic run failed waits seven days for anyone to redeem it. Going up, whoever wants
the money executes the message on Ethereum once its root is confirmed, and pays the gas there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import encode

from sep_ray.adapters.bridges.addresses import ARBITRUM, ARBITRUM_BRIDGE, ETHEREUM, ArbitrumBook
from sep_ray.adapters.bridges.reading import (
    Event,
    Log,
    Reader,
    calldata,
    paid_to,
    topic,
)
from sep_ray.adapters.bridges.tickets import submissions
from sep_ray.adapters.evm.rpc import RpcRefused
from sep_ray.execution.ports import Call
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.errors import Rejected, Transient
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.settlement.ports import (
    NO_PAIR,
    Arrived,
    Blocked,
    Claim,
    Claimable,
    Departure,
    NoQuote,
    OnTheWay,
    Quote,
    RedeemNeeded,
    Sighting,
    Traits,
    Trust,
    Unread,
    Want,
)
from sep_ray.settlement.transfer import Transfer, Waiting

TICKET_CREATED: Final = Event(signature="TicketCreated(bytes32)", data=())
REDEEM_SCHEDULED: Final = Event(
    signature="RedeemScheduled(bytes32,bytes32,uint64,uint64,address,uint256,uint256)",
    data=("uint64", "address", "uint256", "uint256"),
)
DEPOSIT_FINALIZED: Final = Event(
    signature="DepositFinalized(address,address,address,uint256)", data=("uint256",)
)
SENT_UP: Final = Event(
    signature=("L2ToL1Tx(address,address,uint256,uint256,uint256,uint256,uint256,uint256,bytes)"),
    data=("address", "uint256", "uint256", "uint256", "uint256", "bytes"),
)
ROOT_UPDATED: Final = Event(signature="SendRootUpdated(bytes32,bytes32)", data=())
EXECUTED: Final = Event(
    signature="OutBoxTransactionExecuted(address,address,uint256,uint256)", data=("uint256",)
)
EXECUTE: Final = (
    "executeTransaction(bytes32[],uint256,address,address,uint256,uint256,uint256,uint256,bytes)"
)
DOWN, UP = "deposit", "withdrawal"
DEPOSIT_GAS: Final = 300_000
WITHDRAW_GAS: Final = 300_000
RUN_GAS: Final = 300_000
"""What the ticket's automatic run may use on Arbitrum."""
REDEEM_GAS: Final = 700_000
EXECUTE_GAS: Final = 500_000
GOOD_MS: Final = 60_000
ROOTS_LOOKBACK: Final = 100_000
_SUBMISSION_BYTES: Final = 600
"""More than the calldata of a gateway's message ever has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbitrumTerms:
    """What the two directions take, by direction: (p50, p95) in milliseconds.

    `tokens` are the pairs that gateways connect (Ethereum's address, Arbitrum's).
    """

    times_ms: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {
            DOWN: (600_000, 1_200_000),
            UP: (553_000_000, 605_000_000),
        }
    )
    tokens: tuple[tuple[str, str], ...] = (
        (
            "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2",
            "0x82af49447d8a07e3bd95bd0d56f35241523fbab1",
        ),
    )
    caps: Mapping[Asset, int] = field(default_factory=dict)


class Arbitrum:
    """Answers the port Bridge."""

    def __init__(
        self,
        readers: Mapping[ChainId, Reader],
        terms: ArbitrumTerms | None = None,
        book: ArbitrumBook = ARBITRUM_BRIDGE,
    ) -> None:
        self._l1, self._l2 = readers[ETHEREUM], readers[ARBITRUM]
        self._terms = terms or ArbitrumTerms()
        self._book = book
        self._pairs = {
            (Asset(ETHEREUM, above), Asset(ARBITRUM, below)) for above, below in self._terms.tokens
        }
        self.traits = Traits(
            name="arbitrum",
            trust=Trust.CANONICAL,
            refundable=False,
            anyone_can_finish=True,
            expires=False,
            needs_destination_gas=True,
            caps=self._terms.caps,
        )

    async def quote(self, want: Want) -> tuple[Quote, ...] | NoQuote:
        if (want.source, want.target) in self._pairs:
            return (self._offer(want, DOWN, await self._ticket_wei(), DEPOSIT_GAS, 0),)
        if (want.target, want.source) in self._pairs:
            return (self._offer(want, UP, 0, WITHDRAW_GAS, EXECUTE_GAS),)
        return NoQuote(bridge="arbitrum", reason=NO_PAIR)

    def _offer(self, want: Want, mode: str, fee_wei: int, gas: int, claim_gas: int) -> Quote:
        p50, p95 = self._terms.times_ms[mode]
        return Quote(
            bridge="arbitrum",
            mode=mode,
            source=want.source,
            target=want.target,
            units_in=want.units,
            units_out=want.units,
            least_out=want.units,
            fee_wei=fee_wei,
            departure_gas=gas,
            claim_gas=claim_gas,
            p50_ms=p50,
            p95_ms=p95,
            good_until=Millis(want.now + GOOD_MS),
        )

    async def _ticket_wei(self) -> int:
        """What the ticket costs: its submission at a base fee half as high again, and its run."""
        submission, price = await self._ticket_prices()
        return submission + RUN_GAS * price

    async def _ticket_prices(self) -> tuple[int, int]:
        """Return the submission fee and the gas price bid. Inbox: (1400 + 6 bytes) * base fee."""
        above, below = await self._l1.block(), await self._l2.block()
        submission = (1_400 + 6 * _SUBMISSION_BYTES) * above.base_fee_wei * 3 // 2 + 1
        return submission, max(2 * below.base_fee_wei, 2)

    async def depart(self, quote: Quote, want: Want) -> Departure:
        if want.now > quote.good_until:
            raise Rejected("the quote is too old", bridge=quote.bridge)
        return await (self._down(quote, want) if quote.mode == DOWN else self._up(quote, want))

    async def _down(self, quote: Quote, want: Want) -> Departure:
        """Pay what the quote said; a base fee that rose beyond it makes the quote void."""
        price = max(2 * (await self._l2.block()).base_fee_wei, 2)
        submission = quote.fee_wei - RUN_GAS * price
        needed = (1_400 + 6 * _SUBMISSION_BYTES) * (await self._l1.block()).base_fee_wei
        if submission < needed:
            raise Rejected("the ticket costs more than quoted", needed=needed, left=submission)
        gateway = await self._l1.call(
            self._book.l1_router, "getGateway(address)", want.source.address, returns="(address)"
        )
        data = calldata(
            "outboundTransferCustomRefund(address,address,address,uint256,uint256,uint256,bytes)",
            *(want.source.address, want.recipient, want.recipient, quote.units_in),
            *(RUN_GAS, price, encode(["uint256", "bytes"], [submission, b""])),
        )
        return Departure(
            call=Call(to=self._book.l1_router, data=data, value_wei=quote.fee_wei),
            gas_limit=2 * DEPOSIT_GAS,
            spender=gateway,
            approve=quote.units_in,
            watch_from=(await self._l2.block()).number,
        )

    async def _up(self, quote: Quote, want: Want) -> Departure:
        data = calldata(
            "outboundTransfer(address,address,uint256,bytes)",
            *(want.target.address, want.recipient, quote.units_in, b""),
        )
        return Departure(
            call=Call(to=self._book.l2_router, data=data),
            gas_limit=2 * WITHDRAW_GAS,
            watch_from=(await self._l1.block()).number,
        )

    async def observe(self, transfer: Transfer) -> Sighting:
        if transfer.source.chain_id == ETHEREUM:
            return await self._observe_down(transfer)
        return await self._observe_up(transfer)

    async def claim(self, transfer: Transfer) -> Claim:
        if transfer.source.chain_id == ETHEREUM:
            ticket = await self._ticket(transfer)
            if ticket is None:
                raise Rejected("there is no ticket to redeem")
            data = calldata("redeem(bytes32)", bytes.fromhex(ticket[2:]))
            call = Call(to=self._book.arb_retryable, data=data)
            return Claim(chain_id=ARBITRUM, call=call, gas_limit=REDEEM_GAS, what="redeem")
        return await self._execute(transfer)

    # Down: a ticket

    async def _ticket(self, transfer: Transfer) -> str | None:
        if transfer.departure is None:
            return None
        logs = await self._l1.receipt_logs(transfer.departure.tx_hash)
        found = submissions(logs, self._book.inbox, self._book.bridge)
        return found[0].ticket_id(ARBITRUM) if found else None

    async def _observe_down(self, transfer: Transfer) -> Sighting:
        ticket = await self._ticket(transfer)
        if ticket is None:
            return Unread(detail="the departure submitted no ticket")
        head = await self._l2.block()
        found = await self._l2.logs(
            self._book.arb_retryable, [None, ticket], transfer.watch_from, head.number
        )
        for log in REDEEM_SCHEDULED.found_in(found, self._book.arb_retryable):
            arrived = await self._run(log, transfer)
            if arrived is not None:
                return arrived
        if not TICKET_CREATED.found_in(found, self._book.arb_retryable):
            return OnTheWay(waiting=Waiting.QUEUE, reference=ticket)
        return await self._unredeemed(ticket)

    async def _run(self, scheduled: Log, transfer: Transfer) -> Arrived | None:
        """Return what one run of the ticket paid; None if it failed.

        A node runs it as a transaction of its own, named in the log. Local chains, which have no
        such transactions, run it within the redeeming one and name none.
        """
        named = scheduled.topics[2]
        logs = await self._l2.receipt_logs(named if int(named, 16) else scheduled.tx_hash)
        for gateway in (self._book.l2_weth_gateway, self._book.l2_erc20_gateway):
            for log in DEPOSIT_FINALIZED.found_in(logs, gateway):
                paid = paid_to(logs, transfer.target.address, transfer.recipient, before=log.index)
                if log.topics[3] == topic(transfer.recipient) and paid is not None:
                    return Arrived(
                        asset=transfer.target,
                        units=int.from_bytes(paid.data, "big"),
                        proof=paid.proof(ARBITRUM),
                    )
        return None

    async def _unredeemed(self, ticket: str) -> Sighting:
        try:
            until = await self._l2.call(
                self._book.arb_retryable,
                "getTimeout(bytes32)",
                bytes.fromhex(ticket[2:]),
                returns="(uint256)",
            )
        except RpcRefused:
            detail = "the ticket is gone: cancelled, or not redeemed within its seven days"
            return Blocked(reference=ticket, detail=detail)
        return RedeemNeeded(reference=ticket, detail=f"its run failed; it lives until {until}")

    # Up: a message and its proof

    async def _sent_up(self, transfer: Transfer) -> Log | None:
        if transfer.departure is None:
            return None
        logs = await self._l2.receipt_logs(transfer.departure.tx_hash)
        found = SENT_UP.found_in(logs, self._book.arb_sys)
        return found[0] if found else None

    async def _observe_up(self, transfer: Transfer) -> Sighting:
        sent = await self._sent_up(transfer)
        if sent is None:
            return Unread(detail="the departure sent nothing to Ethereum")
        position = int(sent.topics[3], 16)
        reference = str(position)
        spent = await self._l1.call(
            self._book.outbox, "isSpent(uint256)", position, returns="(bool)"
        )
        if spent:
            return await self._executed(position, transfer)
        proof = await self._proof(sent, position)
        if proof is None:
            return OnTheWay(waiting=Waiting.CHALLENGE, reference=reference)
        why = await self._l1.reverts(self._book.outbox, EXECUTE, *_execution(sent, position, proof))
        if why is not None:
            return Blocked(reference=reference, detail=f"an execution would fail: {why}")
        return Claimable(reference=reference, detail="the challenge period is over")

    async def _executed(self, position: int, transfer: Transfer) -> Arrived:
        head = await self._l1.block()
        found = await self._l1.logs(
            self._book.outbox, [EXECUTED.topic], transfer.watch_from, head.number
        )
        mine = [log for log in found if log.values(EXECUTED.data) == (position,)]
        if not mine:
            raise Transient("executed, and the execution's log is not found", position=position)
        logs = await self._l1.receipt_logs(mine[-1].tx_hash)
        paid = paid_to(logs, transfer.target.address, transfer.recipient)
        if paid is None:
            raise Transient("executed, and no payment is found", tx_hash=mine[-1].tx_hash)
        return Arrived(
            asset=transfer.target,
            units=int.from_bytes(paid.data, "big"),
            proof=paid.proof(ETHEREUM),
        )

    async def _execute(self, transfer: Transfer) -> Claim:
        sent = await self._sent_up(transfer)
        if sent is None:
            raise Rejected("there is no message to execute")
        position = int(sent.topics[3], 16)
        proof = await self._proof(sent, position)
        if proof is None:
            raise Transient("the message is not confirmed now")
        call = calldata(EXECUTE, *_execution(sent, position, proof))
        return Claim(
            chain_id=ETHEREUM,
            call=Call(to=self._book.outbox, data=call),
            gas_limit=EXECUTE_GAS,
            what="execute",
        )

    async def _proof(self, sent: Log, position: int) -> list[bytes] | None:
        """Return the path from our message to a confirmed root; None while none holds it."""
        head = await self._l1.block()
        first = max(0, head.number - ROOTS_LOOKBACK)
        roots = await self._l1.logs(self._book.outbox, [ROOT_UPDATED.topic], first, head.number)
        for log in reversed(roots):
            confirmed = await self._l2.block_by_hash(log.topics[2])
            if confirmed.number < sent.block_number:
                return None
            size = await self._size_at(sent, confirmed.number)
            _, root, proof = await self._l2.call(
                self._book.node_interface,
                "constructOutboxProof(uint64,uint64)",
                *(size, position),
                returns="(bytes32,bytes32,bytes32[])",
            )
            if "0x" + root.hex() == log.topics[1]:
                return list(proof)
        return None

    async def _size_at(self, sent: Log, block: int) -> int:
        """Return how many messages had been sent by a block: ours is one of them."""
        logs = await self._l2.logs(self._book.arb_sys, [SENT_UP.topic], sent.block_number, block)
        return max(int(log.topics[3], 16) for log in (*logs, sent)) + 1


def _execution(sent: Log, position: int, proof: list[bytes]) -> tuple[Any, ...]:
    """The arguments of EXECUTE: the proof, and the message as it was sent."""
    caller, block, above, timestamp, value, data = sent.values(SENT_UP.data)
    to = "0x" + sent.topics[1][-40:]
    return proof, position, caller, to, block, above, timestamp, value, data
