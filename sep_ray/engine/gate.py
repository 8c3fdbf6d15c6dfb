"""Between deciding and signing: nothing is signed that policy did not clear (P9, P10).

`Gate.clear` judges what is about to be signed against the limits and the halts. What passes has
its shares of the limits booked (`entitling.py`) and only then is granted to the lane's signer,
once, for exactly these fields under exactly these limits; the signer refuses everything else. The
commit that makes the bytes durable stands only if the limits are still the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from sep_ray.decomposition.step import Step
from sep_ray.engine.booking import Booking
from sep_ray.engine.halting import HaltBoard
from sep_ray.engine.marking import LOSSES, Marker
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.attempt import Attempt, Purpose, Signed
from sep_ray.execution.fees import Fees
from sep_ray.execution.ports import Call, Signer, Unsigned
from sep_ray.journal.ports import Halting, Ledger, Policies
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import InvariantBroken, Rejected
from sep_ray.kernel.units import Asset
from sep_ray.policy.book import LimitBook
from sep_ray.policy.codes import Denial
from sep_ray.policy.decide import Allowed, Decision, Denied, decide
from sep_ray.policy.halts import Sending
from sep_ray.policy.limits import Kind, Limit, Measure
from sep_ray.policy.request import CallFacts, Movement, Price, Request
from sep_ray.policy.usage import Reservation, Usage
from sep_ray.portfolio.ledger import HOLDINGS
from sep_ray.routing.prices import mid_price
from sep_ray.routing.reasons import NoRoute
from sep_ray.routing.snapshot import Snapshot

log = structlog.get_logger()

RESERVING = frozenset({Kind.WINDOW, Kind.TOTAL, Kind.POSITION})


class NotCleared(Rejected):
    """The signer was asked for what policy did not clear; facts: code, why."""


class CallReader(Protocol):
    """Reads calls as they will be signed, without trusting whoever wrote them."""

    def read(self, call: Call) -> CallFacts:
        """Return what the bytes plainly say; None in a field for what they do not."""


class Unread:
    """Reads nothing but the function: lists that ask for more deny."""

    def read(self, call: Call) -> CallFacts:
        """Return the first four bytes."""
        return CallFacts(selector=call.data[:10] if call.data != "0x" else "")


class GateStore(Policies, Halting, Ledger, Protocol):
    """What the gate reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A transaction that is about to be signed.

    * `step`: for whose sake; `sells`, `buys`: the most that leaves, what is expected to come
    * `spenders`: who may take what is sold
    * `before`: the attempt this replaces; `cancel`: it is only to use the nonce up
    """

    purpose: Purpose
    call: Call
    gas_limit: int
    fees: Fees
    step: Step | None = None
    sells: Movement | None = None
    buys: Movement | None = None
    spenders: frozenset[str] = frozenset()
    before: Attempt | None = None
    cancel: bool = False


class Sale(Protocol):
    """A step's sale to another strategy: it gives `sold` of what it sells and gets `bought`."""

    @property
    def step(self) -> Step: ...
    @property
    def sold(self) -> int: ...
    @property
    def bought(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """It may be signed, once these shares of the limits of this version are booked."""

    version: int
    fields: Unsigned
    sending: Sending
    reservations: tuple[Reservation, ...] = ()


Clearing = Cleared | Denied


@dataclass(frozen=True, slots=True)
class _Grant:
    version: int
    sending: Sending


class GuardedSigner:
    """A signer that signs only what was granted, each grant once. Answers the port Signer."""

    def __init__(self, inner: Signer, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self._grants: dict[Unsigned, list[_Grant]] = {}
        self.address = inner.address

    def grant(self, fields: Unsigned, version: int, sending: Sending) -> None:
        """Let these fields be signed once, at any nonce."""
        self._grants.setdefault(replace(fields, nonce=0), []).append(_Grant(version, sending))

    def forget(self) -> None:
        """Take back all grants that were not used."""
        self._grants.clear()

    async def sign(self, batch: Sequence[Unsigned]) -> tuple[Signed, ...]:
        """Sign what was cleared and is not halted by now; NotCleared, and nothing, otherwise."""
        for fields in batch:
            self._require(fields)
        return await self._inner.sign(batch)

    def _require(self, fields: Unsigned) -> None:
        grants = self._grants.get(replace(fields, nonce=0))
        if not grants:
            raise _not_cleared(Denial.NOT_CLEARED, "no clearance for these fields")
        grant = grants.pop()
        if grant.version != self._gate.version:
            raise _not_cleared(Denial.NOT_CLEARED, "the limits have changed since")
        stop = self._gate.board.stop(grant.sending)
        if stop is not None:
            raise _not_cleared(stop.code, stop.why)


@dataclass(slots=True)
class Gate:
    """One for each executor."""

    store: GateStore
    board: HaltBoard
    rules: ChainRules
    clock: Clock
    reader: CallReader = field(default_factory=Unread)
    _book: LimitBook = field(default_factory=LimitBook)
    _marker: Marker | None = None
    _own: set[str] = field(default_factory=set)
    _snapshot: Snapshot | None = None
    _prices: Mapping[Asset, Price] | None = None

    @property
    def version(self) -> int:
        """The version of the limits that clearances are given under."""
        return self._book.version

    @property
    def limited(self) -> bool:
        """Whether there are limits at all."""
        return bool(self._book.limits)

    def guard(self, signer: Signer) -> GuardedSigner:
        """Return a signer that knows this gate; its account is one of ours."""
        self._own.add(signer.address)
        return GuardedSigner(signer, self)

    async def refresh(self, snapshot: Snapshot | None) -> None:
        """Read limits and halts as they stand; value is counted at this market from now on."""
        self._snapshot, self._prices = snapshot, None
        self.board.read(await self.store.active_halts())
        self._book = await self.store.limits()
        if self._marker is None:
            self._marker = Marker(self.store, self.rules, self.clock)
        await self._marker.keep(self._book.limits, self._mids())

    async def reread(self) -> None:
        """Read the limits again: they have moved on."""
        self._book = await self.store.limits()

    def grant(self, signer: Signer, cleared: Cleared) -> None:
        """Let what was cleared be signed once, now that its shares are booked."""
        if isinstance(signer, GuardedSigner):
            signer.grant(cleared.fields, cleared.version, cleared.sending)

    async def clear(self, signer: Signer, asks: Sequence[Ask]) -> list[Clearing]:
        """Judge what is about to be signed, each as if those before it were booked already."""
        requests = [self._request(signer.address, ask) for ask in asks]
        limits = self._book.limits
        usage = await self._usage(requests) if limits and asks else Usage()
        found: list[Clearing] = []
        for ask, request in zip(asks, requests, strict=True):
            sending = self._sending(ask, request)
            stop = self.board.stop(sending)
            if stop is not None:
                free = request.at
                found.append(Denied(code=stop.code, detail=stop.why, free_at=free))
                continue
            decision = decide(request, limits, usage)
            if isinstance(decision, Allowed):
                usage = usage.plus(decision.reservations)
                found.append(
                    Cleared(
                        version=self.version,
                        fields=self._fields(ask),
                        sending=sending,
                        reservations=decision.reservations,
                    )
                )
            else:
                log.info("policy_denied", denial=str(decision), purpose=ask.purpose.value)
                found.append(decision)
        return found

    async def crossing(self, sales: Sequence[Sale]) -> list[Decision]:
        """Judge sales that are to be crossed with one another, which no transaction does.

        They count like the swaps that they replace: one each, by what is sold and bought.
        """
        requests = [self._crossed(sale) for sale in sales]
        limits = self._book.limits
        usage = await self._usage(requests) if limits and sales else Usage()
        found: list[Decision] = []
        for request in requests:
            decision = decide(request, limits, usage)
            if isinstance(decision, Allowed):
                usage = usage.plus(decision.reservations)
            found.append(decision)
        return found

    def holds(self, step: Step) -> bool:
        """Whether a halt keeps a step from being begun."""
        return self.board.stop(self._of_step(step)) is not None

    def passes(self, attempt: Attempt, step: Step | None) -> bool:
        """Whether the newest bytes of an attempt may be sent now, by the halts."""
        sending = Sending(chain_id=attempt.chain_id, reduces=True)
        if step is not None:
            sending = self._of_step(step)
        if attempt.purpose is Purpose.ARRIVAL:
            sending = replace(sending, reduces=True)
        if attempt.newest.cancel:
            sending = replace(sending, reduces=True, cancels=len(attempt.signed) > 1)
        return self.board.stop(sending) is None

    def _of_step(self, step: Step) -> Sending:
        numeraire = self.rules.numeraire
        return Sending(
            chain_id=step.chain_id,
            strategy_id=step.strategy_id,
            intent_id=step.intent_id,
            reduces=numeraire is not None and step.buy == numeraire != step.sell,
        )

    def _sending(self, ask: Ask, request: Request) -> Sending:
        sending = Sending(chain_id=request.chain_id, reduces=request.reduces)
        if ask.step is not None:
            sending = self._of_step(ask.step)
        if ask.purpose is Purpose.ARRIVAL:
            sending = replace(sending, reduces=True)
        if request.cancels and request.harmless:
            sending = replace(sending, reduces=True, cancels=ask.before is not None)
        return sending

    def _request(self, account: str, ask: Ask) -> Request:
        step, before = ask.step, ask.before
        facts = self.reader.read(ask.call) if self._book.limits else CallFacts()
        gas = ask.gas_limit * ask.fees.max_fee_wei
        if before is not None:
            gas -= before.newest.gas_limit * before.newest.max_fee_wei
        buys = ask.buys
        if buys is None and step is not None:
            buys = Movement(asset=step.buy, units=0)
        to_itself = ask.call.to == account and not ask.call.value_wei and ask.call.data == "0x"
        return Request(
            at=self.clock.now(),
            purpose=ask.purpose,
            strategy_id=step.strategy_id if step is not None else "",
            chain_id=self.rules.chain_id,
            contract=ask.call.to,
            own=frozenset(self._own),
            selector=facts.selector,
            intent_id=step.intent_id if step is not None else None,
            sells=ask.sells,
            buys=buys,
            approves=facts.approves,
            spenders=ask.spenders | facts.spenders,
            recipients=facts.recipients,
            gas_wei=max(gas, 0),
            cancels=ask.cancel or ask.purpose is Purpose.CANCEL,
            harmless=to_itself,
            again=before is not None,
            numeraire=self.rules.numeraire,
            prices=self._mids(),
        )

    def _crossed(self, sale: Sale) -> Request:
        return Request(
            at=self.clock.now(),
            purpose=Purpose.SWAP,
            strategy_id=sale.step.strategy_id,
            chain_id=self.rules.chain_id,
            contract="",
            own=frozenset(self._own),
            intent_id=sale.step.intent_id,
            sells=Movement(asset=sale.step.sell, units=sale.sold),
            buys=Movement(asset=sale.step.buy, units=sale.bought),
            numeraire=self.rules.numeraire,
            prices=self._mids(),
        )

    def _fields(self, ask: Ask) -> Unsigned:
        return Unsigned(
            chain_id=self.rules.chain_id,
            nonce=0,
            call=ask.call,
            gas_limit=ask.gas_limit,
            max_fee_wei=ask.fees.max_fee_wei,
            tip_wei=ask.fees.tip_wei,
        )

    def _mids(self) -> Mapping[Asset, Price]:
        """Return what everything is worth, where a limit asks for it."""
        if self._prices is None:
            self._prices = self._read_mids()
        return self._prices

    def _read_mids(self) -> Mapping[Asset, Price]:
        snapshot, numeraire = self._snapshot, self.rules.numeraire
        limits = self._book.limits
        counts = any(each.measure is Measure.VALUE or each.kind in LOSSES for each in limits)
        if snapshot is None or numeraire is None or not counts:
            return {}
        found = {asset: mid_price(snapshot, asset, numeraire) for asset in self.rules.assets}
        return {asset: mid for asset, mid in found.items() if not isinstance(mid, NoRoute)}

    async def _usage(self, requests: Sequence[Request]) -> Usage:
        """Read what the limits in question look at, and no more."""
        limits = self._book.limits
        names = [limit.id for limit in limits if limit.kind in RESERVING]
        slots = await self.store.limit_usage(names) if names else {}
        held: dict[tuple[str, Asset], int] = {}
        for owner in self._owners(limits):
            for line in await self.store.holdings(owner):
                if line.bucket in HOLDINGS:
                    key = line.strategy_id, line.asset
                    held[key] = held.get(key, 0) + line.units
        losing = {limit.subject.strategy_id for limit in limits if limit.kind in LOSSES}
        who = sorted({r.strategy_id for r in requests} & losing)
        return Usage(slots=slots, held=held, marks=await self.store.marks(who) if who else {})

    def _owners(self, limits: Sequence[Limit]) -> Sequence[str | None]:
        """Return whose positions count; None once is everybody's."""
        owners = {limit.subject.strategy_id for limit in limits if limit.kind is Kind.POSITION}
        if None in owners:
            return [None]
        return sorted(owner for owner in owners if owner is not None)


def covered(booking: Booking, cleared: Cleared | None) -> Booking:
    """Let the commit that makes the bytes durable stand only under the limits of the clearance."""
    if cleared is None:
        raise InvariantBroken("signed without a clearance", attempt=str(booking.attempt.id))
    return replace(booking, commit=replace(booking.commit, policy_version=cleared.version))


def _not_cleared(code: Denial, why: str) -> NotCleared:
    return NotCleared("the signer refuses what was not cleared", code=code.value, why=why)
