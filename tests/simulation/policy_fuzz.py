"""Random intents from racing executors against limits and halts that change under them (P9, P10).

Several executors, each with its own gate and signer, share one journal in which every call may be
overtaken by another. Officers set and remove limits, halt and release meanwhile. A judge that
knows nothing of the gate's arithmetic looks at the signers alone: for whatever may be signed it
counts, transaction by transaction, what every limit as it stood when its shares were booked had to
bear, whether the bytes become durable afterwards or are lost. What is signed besides is a fault.

`make policy-fuzz` runs 100,000 intents; a seed that fails is run again with `--seed`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sep_ray.adapters.memory import MemoryStore
from sep_ray.engine.booking import Booking
from sep_ray.engine.entitling import Entitlement
from sep_ray.engine.gate import Ask, Cleared, Gate, NotCleared, covered
from sep_ray.engine.halting import HaltBoard
from sep_ray.engine.lane import Lane
from sep_ray.engine.risk import RiskDesk
from sep_ray.engine.rules import ChainRules
from sep_ray.execution.attempt import (
    Attempt,
    AttemptBroadcast,
    AttemptCancelled,
    AttemptExpired,
    AttemptFinalized,
    AttemptIncluded,
    AttemptPrepared,
    AttemptReverted,
    Inclusion,
    Purpose,
    Signed,
    evolve,
)
from sep_ray.execution.fees import Fees
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.journal.records import Append, Commit, VersionConflict
from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.ids import SeededIds
from sep_ray.kernel.units import NATIVE, Asset, ChainId
from sep_ray.policy.halts import Halt, Mode, Scope
from sep_ray.policy.limits import Kind, Limit, Listed, Measure, Subject
from sep_ray.policy.request import CallFacts, Movement
from tests.fixtures.records import NOW, a_step
from tests.simulation.policy_judge import PRICES, Deed, Judge

CHAINS = (ChainId(1), ChainId(42161))
STRATEGIES = ("alpha", "beta", "gamma")
CONTRACTS = tuple("0x" + digit * 40 for digit in "cde")
SELECTORS = ("0xaaaaaaaa", "0xbbbbbbbb")
STRANGER = "0x" + "66" * 20
MOST_LIMITS = 25
FOREVER = 10**12


def token(chain: ChainId, name: str) -> Asset:
    return Asset(chain, "0x" + name * 40)


class Overtaken:
    """A store whose every call may be overtaken by others."""

    def __init__(self, inner: MemoryStore, chance: random.Random) -> None:
        self._inner, self._chance = inner, chance

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)

        async def call(*args: Any) -> Any:
            for _ in range(self._chance.randrange(3)):
                await asyncio.sleep(0)
            return await found(*args)

        return call


class Reader:
    """Reads the made-up calls: `0x` selector, then the recipient's forty digits."""

    def read(self, call: Call) -> CallFacts:
        if call.data == "0x":
            return CallFacts(recipients=frozenset({call.to}))
        recipient = frozenset({"0x" + call.data[10:50]}) if len(call.data) == 50 else None
        return CallFacts(selector=call.data[:10], recipients=recipient)


class PricedGate(Gate):
    """A gate that knows its prices without pools."""

    def _read_mids(self) -> Any:
        return {token(self.rules.chain_id, name): price for name, price in PRICES.items()}


@dataclass
class Spy:
    """A signer that notes what it signs."""

    address: str
    signed: list[Unsigned] = field(default_factory=list)

    async def sign(self, batch: Any) -> tuple[Signed, ...]:
        self.signed += batch
        return tuple(
            Signed(
                raw="0x02",
                tx_hash=f"0x{hash((self.address, len(self.signed))) & (2**256 - 1):064x}",
                max_fee_wei=each.max_fee_wei,
                tip_wei=each.tip_wei,
                gas_limit=each.gas_limit,
            )
            for each in batch
        )


class Fuzz:
    """One seed's world."""

    def __init__(self, seed: int, intents: int) -> None:
        self.chance = random.Random(seed)
        self.left = intents
        self.clock = ManualClock(NOW)
        self.ids = SeededIds(self.clock, seed)
        self.truth = MemoryStore(self.clock)
        self.journal: Any = Overtaken(self.truth, self.chance)
        self.judge = Judge()
        self.seen: Counter[str] = Counter()
        self.live: list[tuple[Attempt, Deed]] = []
        self.gates = [self._gate(chain, n) for chain in CHAINS for n in range(2)]
        self.halts: list[Halt] = []

    def _gate(self, chain: ChainId, place: int) -> tuple[Gate, Lane, Spy]:
        rules = ChainRules(
            chain_id=chain,
            coin=Asset(chain, NATIVE),
            tokens=tuple(token(chain, name) for name in "1234"),
            numeraire=token(chain, "3"),
        )
        gate = PricedGate(self.journal, HaltBoard(self.clock), rules, self.clock, Reader())
        spy = Spy("0x" + f"{10 * chain + place:040x}")
        return gate, Lane(chain, gate.guard(spy)), spy

    async def run(self, say: Any = None) -> None:
        desk = RiskDesk(self.truth, self.clock)
        for _ in range(MOST_LIMITS // 2):
            await self._officer(desk, limits_only=True)
        workers = [asyncio.create_task(self._work(*parts)) for parts in self.gates]
        while not all(worker.done() for worker in workers):
            await self._officer(desk)
            await self._settle()
            self.clock.advance(self.chance.choice([0, 1, 50, 2_000]))
            if say is not None:
                say()
            for _ in range(20):
                await asyncio.sleep(0)
        await asyncio.gather(*workers)
        if (made := sum(len(spy.signed) for _, _, spy in self.gates)) != self.seen["signed"]:
            self.judge.faults.append(f"{made} signatures, {self.seen['signed']} of them judged")

    async def _work(self, gate: Gate, lane: Lane, spy: Spy) -> None:
        lease = await self.truth.acquire(lane.name, lane.name, FOREVER)
        assert lease is not None
        lane.held(lease, Millis(self.clock.now() + FOREVER))
        entitlement = Entitlement(self.journal, gate, self.clock, self.clock)
        while self.left > 0:
            if self.chance.random() < 0.2 or gate.board.stop is None:
                await gate.refresh(None)
            size = min(self.chance.randrange(1, 5), self.left)
            self.left -= size
            asks = [self._ask(gate.rules.chain_id) for _ in range(size)]
            asked = self.clock.now()
            found = await gate.clear(lane.signer, asks)
            cleared: dict[UUID, tuple[Ask, Cleared]] = {}
            for ask, said in zip(asks, found, strict=True):
                self.seen[said.code.value if not isinstance(said, Cleared) else "cleared"] += 1
                if isinstance(said, Cleared):
                    cleared[self.ids.next()] = ask, said
            wanted = {name: said for name, (_, said) in cleared.items()}
            if not await entitlement.to_sign(lane, wanted):
                self.seen["lost the race"] += len(wanted)
                continue
            limits = (await self.truth.limits()).limits
            deeds = {
                name: self._deed(gate, ask, asked, limits) for name, (ask, _) in cleared.items()
            }
            for name, (_, said) in cleared.items():
                await self._sign(gate, lane, spy, name, deeds[name], said)
            lane.signer.forget()  # type: ignore[attr-defined]

    def _deed(self, gate: Gate, ask: Ask, asked: Millis, limits: tuple[Limit, ...]) -> Deed:
        gas = ask.gas_limit * ask.fees.max_fee_wei
        deed = Deed(ask=ask, chain=gate.rules.chain_id, at=asked, gas=gas)
        self.judge.signed(deed, limits)
        return deed

    async def _sign(
        self, gate: Gate, lane: Lane, spy: Spy, name: UUID, deed: Deed, said: Cleared
    ) -> None:
        ask = deed.ask
        fields = Unsigned(
            chain_id=gate.rules.chain_id,
            nonce=self.ids.next().int % 2**40,
            call=ask.call,
            gas_limit=ask.gas_limit,
            max_fee_wei=ask.fees.max_fee_wei,
            tip_wei=ask.fees.tip_wei,
        )
        await self._meddle(lane.signer, spy, fields)
        for _ in range(self.chance.randrange(3)):
            await asyncio.sleep(0)
        try:
            (signed,) = await lane.signer.sign([fields])
        except NotCleared as error:
            self.seen[f"signer: {error.facts['code']}"] += 1
            deed.undo()
            return
        self.seen["signed"] += 1
        attempt = self._attempt(fields, signed, ask, lane.account, name)
        after = evolve(None, AttemptPrepared(attempt=attempt))
        append = Append(
            stream_id=attempt.stream_id,
            expected_version=0,
            events=(AttemptPrepared(attempt=attempt),),
            correlation_id=attempt.id,
        )
        bare = Commit(at=self.clock.now(), appends=(append,), states=(after,), fence=lane.fence)
        booking = covered(Booking(commit=bare, attempt=after, step=None), said)
        try:
            await self.journal.commit(booking.commit)
        except VersionConflict:
            self.seen["signed, not durable: the limits have moved on"] += 1
            deed.undo()
            return
        self.seen["durable"] += 1
        self.live.append((after, deed))

    async def _meddle(self, signer: Any, spy: Spy, fields: Unsigned) -> None:
        """Ask for what was not cleared: the signer has to refuse it, whatever it is."""
        if self.chance.random() > 0.05:
            return
        wrong = self.chance.choice(
            [
                replace(fields, gas_limit=fields.gas_limit + 1_000),
                replace(fields, call=replace(fields.call, to=STRANGER)),
                replace(fields, call=replace(fields.call, value_wei=1)),
                replace(fields, max_fee_wei=fields.max_fee_wei + 1_000),
            ]
        )
        before = len(spy.signed)
        try:
            await signer.sign([wrong])
        except NotCleared:
            self.seen["meddling refused"] += 1
        if len(spy.signed) != before:
            self.judge.faults.append("signed what was not cleared")

    def _ask(self, chain: ChainId) -> Ask:
        chance = self.chance
        sell, buy = chance.sample("1234", 2) if chance.random() < 0.3 else chance.sample("123", 2)
        units = chance.choice([0, 1, 7, 40, 90, 101])
        step = a_step(strategy_id=chance.choice(STRATEGIES), chain_id=chain)
        step = replace(step, sell=token(chain, sell), buy=token(chain, buy))
        recipient = chance.choice(["11" * 20, "22" * 20, ""])
        return Ask(
            purpose=Purpose.SWAP,
            call=Call(to=chance.choice(CONTRACTS), data=chance.choice(SELECTORS) + recipient),
            gas_limit=chance.randrange(1, 5),
            fees=Fees(max_fee_wei=chance.randrange(1, 9), tip_wei=0),
            step=step,
            sells=Movement(asset=step.sell, units=units),
            buys=Movement(asset=step.buy, units=chance.randrange(100)),
            spenders=frozenset({chance.choice(CONTRACTS)}),
        )

    def _attempt(
        self, fields: Unsigned, signed: Signed, ask: Ask, account: str, name: UUID
    ) -> Attempt:
        return Attempt(
            id=name,
            step_id=None,
            purpose=ask.purpose,
            chain_id=fields.chain_id,
            account=account,
            nonce=fields.nonce,
            to=ask.call.to,
            signed=(signed,),
            prepared_at=self.clock.now(),
            deadline=self.clock.now(),
        )

    async def _settle(self) -> None:
        """Let some of what is in flight end, one way or another."""
        self.chance.shuffle(self.live)
        while self.live and (len(self.live) > 30 or self.chance.random() < 0.5):
            attempt, deed = self.live.pop()
            paid = self.chance.randrange(0, deed.gas + 1)
            where = Inclusion(
                tx_hash="0x", block_number=1, block_hash="0x", gas_used=paid, gas_price_wei=1
            )
            sent = AttemptBroadcast(tx_hash="0x", block_number=1, answer="")
            final, reverted = (
                AttemptFinalized(block_number=9),
                AttemptReverted(inclusion=where, detail=""),
            )
            ends: list[tuple[Any, ...]] = [
                (sent, AttemptIncluded(inclusion=where), final),
                (sent, reverted, final),
                (sent, reverted, AttemptCancelled(tx_hash="0x")),
                (AttemptExpired(detail=""),),
            ]
            events = self.chance.choice(ends)
            deed.alive = False
            deed.effect = len(events) == 3 and isinstance(events[1], AttemptIncluded)
            deed.gas, deed.counted = (paid, True) if len(events) == 3 else (0, False)
            after = attempt
            for event in events:
                after = evolve(after, event)
            append = Append(
                stream_id=attempt.stream_id,
                expected_version=attempt.version,
                events=events,
                correlation_id=attempt.id,
            )
            await self.truth.commit(Commit(at=self.clock.now(), appends=(append,), states=(after,)))

    async def _officer(self, desk: RiskDesk, *, limits_only: bool = False) -> None:
        chance = self.chance
        book = await self.truth.limits()
        if limits_only or chance.random() < 0.06:
            await desk.set_limit(self._limit(), "fuzz")
        if len(book.limits) > MOST_LIMITS or (book.limits and chance.random() < 0.03):
            await desk.remove_limit(chance.choice(book.limits).id, "fuzz")
        if not limits_only and chance.random() < 0.02:
            scope, target = chance.choice(
                [(Scope.ALL, ""), (Scope.CHAIN, "1"), (Scope.STRATEGY, "alpha")]
            )
            halt = Halt(
                id=self.ids.next(),
                scope=scope,
                target=target,
                mode=chance.choice(list(Mode)),
                why="fuzz",
                principal="fuzz",
                at=self.clock.now(),
            )
            for gate, _, _ in self.gates:
                gate.board.tell(halt)
            self.halts.append(await desk.halt(halt))
        if self.halts and chance.random() < 0.3:
            over = self.halts.pop()
            await desk.release(over.id, "fuzz", "")
            for gate, _, _ in self.gates:
                gate.board.untell(over.id)

    def _limit(self) -> Limit:
        chance = self.chance
        kind = chance.choice(
            [Kind.TRANSACTION, Kind.WINDOW, Kind.WINDOW, Kind.TOTAL, Kind.POSITION, Kind.LIST]
        )
        chain = chance.choice([None, *CHAINS])
        subject = Subject(
            strategy_id=chance.choice([None, None, None, *STRATEGIES]),
            chain_id=chain,
            contract=chance.choice([None] * 6 + [*CONTRACTS]),
            selector=chance.choice([None] * 5 + [*SELECTORS]),
        )
        name = f"{kind.value}-{self.ids.next().hex[-10:]}"
        if kind is Kind.LIST:
            listed, members = chance.choice(
                [
                    (Listed.CONTRACTS, CONTRACTS),
                    (Listed.SELECTORS, SELECTORS),
                    (Listed.SPENDERS, CONTRACTS),
                    (Listed.RECIPIENTS, ("0x" + "11" * 20, "0x" + "22" * 20)),
                    (Listed.ASSETS, tuple(str(token(c, n)) for c in CHAINS for n in "123")),
                ]
            )
            return Limit(
                id=name,
                kind=kind,
                measure=Measure.MEMBERS,
                subject=subject,
                listed=listed,
                members=frozenset(members),
            )
        measures = [Measure.VALUE, Measure.UNITS]
        measures += [Measure.GAS] if kind is not Kind.POSITION else []
        measures += [Measure.COUNT] if kind in (Kind.WINDOW, Kind.TOTAL) else []
        measure = chance.choice(measures)
        if measure is Measure.UNITS or kind is Kind.POSITION:
            chain = chain or CHAINS[0]
            subject = replace(subject, chain_id=chain, asset=token(chain, chance.choice("12")))
        amount = chance.choice([150, 400, 2_000]) * (50 if kind is Kind.TOTAL else 1)
        return Limit(
            id=name,
            kind=kind,
            measure=measure,
            subject=subject,
            amount=amount,
            window_ms=chance.choice([60_000, 120_000]) if kind is Kind.WINDOW else None,
        )


def report(fuzz: Fuzz) -> str:
    """Say in a few lines what happened."""
    lines = [f"  {count:8} {name}" for name, count in sorted(fuzz.seen.items())]
    return "\n".join([*lines, f"  {len(fuzz.judge.faults):8} outside the limits"])
