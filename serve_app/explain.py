"""What happened, in plain words, from the journal alone (P14)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sep_ray.decomposition.step import (
    Step,
    StepCancelled,
    StepCreated,
    StepExpired,
    StepFailed,
    StepFilled,
    StepFinalized,
    StepHeld,
    StepNetted,
    StepReduced,
    StepReleased,
    StepReplanned,
    StepRequeued,
    StepRescheduled,
    StepSkipped,
    StepStarted,
    StepUnfilled,
)
from sep_ray.execution.attempt import (
    AttemptBroadcast,
    AttemptBumped,
    AttemptCancelled,
    AttemptDropped,
    AttemptExpired,
    AttemptFinalized,
    AttemptIncluded,
    AttemptPrepared,
    AttemptReplaced,
    AttemptResolved,
    AttemptReverted,
    AttemptUndecided,
    AttemptUnincluded,
    AttemptWatched,
    Inclusion,
)
from sep_ray.intent.intent import Intent, IntentType, Side
from sep_ray.intent.states import (
    IntentAccepted,
    IntentCancelled,
    IntentCancelRequested,
    IntentCompleted,
    IntentDecomposed,
    IntentExpired,
    IntentFailed,
    IntentPartiallyCompleted,
    IntentRejected,
    IntentReopened,
)
from sep_ray.journal.records import Event, Recorded
from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import PPM, Asset
from sep_ray.policy.book import LimitRemoved, LimitSet
from sep_ray.policy.halts import Halt, HaltPlaced, HaltReleased, Mode, Scope
from sep_ray.portfolio.events import (
    FundsAllocated,
    FundsObserved,
    LaneResumed,
    LedgerBreached,
    SalesNetted,
)
from sep_ray.settlement.transfer import TransferPlanned
from sep_ray.strategy.record import (
    StrategyPaused,
    StrategyResumed,
    StrategyStarted,
    StrategyStopped,
)
from serve_app import explain_transfers
from serve_app.assets import AssetBook

REMEMBERED: Final = 20_000
"""Steps whose pair a teller keeps."""
MOST_OF_A_PLAN: Final = 300
SHORT: Final = 10
"""Characters of a hash that are enough to recognise it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an event alone does not say: the tokens, and the pair that its step trades."""

    book: AssetBook
    sell: Asset | None = None
    buy: Asset | None = None

    def out(self, units: int) -> str:
        """Write units of what the step sells."""
        return quantity(self.book, self.sell, units)

    def amount(self, asset: Asset, units: int) -> str:
        """Write units of an asset."""
        return quantity(self.book, asset, units)

    def into(self, units: int) -> str:
        """Write units of what the step buys."""
        return quantity(self.book, self.buy, units)


class Teller:
    """Says what events mean, remembering which pair each step or transfer trades."""

    def __init__(self, book: AssetBook) -> None:
        self._book = book
        self._pairs: dict[str, Context] = {}

    def lacks(self, row: Recorded) -> bool:
        """Whether a row belongs to a step or transfer whose beginning was not seen."""
        paired = row.stream_id.startswith(("step/", "transfer/"))
        return paired and row.stream_id not in self._pairs and _pair(row.event) is None

    def learn(self, row: Recorded) -> None:
        """Remember the pair that a row tells of."""
        if (pair := _pair(row.event)) is not None:
            if len(self._pairs) >= REMEMBERED:
                self._pairs.clear()
            self._pairs[row.stream_id] = Context(self._book, *pair)

    def words(self, row: Recorded) -> str:
        """Say in one sentence what an event means; events of a stream are to come in order."""
        self.learn(row)
        say = SENTENCES[type(row.event)]
        return say(row.event, self._pairs.get(row.stream_id) or Context(self._book))


def _pair(event: Event) -> tuple[Asset, Asset] | None:
    """Return what the events of a stream give and get, where this one tells it."""
    if isinstance(event, StepCreated):
        return event.step.sell, event.step.buy
    if isinstance(event, TransferPlanned):
        return event.transfer.source, event.transfer.target
    return None


def readable(detail: str, book: AssetBook) -> str:
    """Write "3000000 of CAIP-19" in whole tokens; other words, and unknown tokens, as they are."""

    def written(found: re.Match[str]) -> str:
        try:
            return quantity(book, Asset.parse(found[2]), int(found[1]))
        except Rejected:
            return found[0]

    return re.sub(r"(\d{1,78}) of (eip155:[0-9]+/[a-z0-9]+:\w+)", written, detail)


def quantity(book: AssetBook, asset: Asset | None, units: int) -> str:
    """Write an amount with its symbol; smallest units where the token is not known."""
    token = book.token(asset) if asset else None
    if token is None:
        return f"{units} units of {asset}" if asset else f"{units} units"
    return f"{token.format(units)} {token.symbol}"


def symbol(book: AssetBook, asset: Asset | None) -> str:
    """Write an asset's symbol, or its text where that is not known."""
    token = book.token(asset) if asset else None
    return token.symbol if token else str(asset)


def wanted(intent: Intent, book: AssetBook) -> str:
    """Say what an intent asks for."""
    sell, buy = symbol(book, intent.sell), symbol(book, intent.buy)
    if intent.type is IntentType.REBALANCE:
        shares = ", ".join(
            f"{target.weight * 100 / PPM:g} % {symbol(book, target.asset)}"
            for target in intent.targets
        )
        return f"rebalance to {shares} on chain {intent.chain_id}"
    if intent.type is IntentType.BRIDGE and intent.buy is not None:
        moved = quantity(book, intent.sell, intent.amount or 0)
        return f"move {moved} from chain {intent.chain_id} to {intent.buy.chain_id}"
    if intent.type is IntentType.LIQUIDATE:
        return f"sell all {sell} for {buy} on chain {intent.chain_id}"
    if intent.side is Side.SELL:
        fixed = quantity(book, intent.sell, intent.amount or 0)
        return f"sell {fixed} for {buy} on chain {intent.chain_id}"
    fixed = quantity(book, intent.buy, intent.amount or 0)
    return f"buy {fixed} with {sell} on chain {intent.chain_id}"


def _accepted(event: IntentAccepted, about: Context) -> str:
    bounds = event.intent.constraints
    note = f" ({event.intent.note})" if event.intent.note else ""
    return (
        f"{event.principal} asked for strategy {event.intent.strategy_id} to "
        f"{wanted(event.intent, about.book)}{note}, within {bounds.time_window_ms / 1_000:g} s and "
        f"with at most {bounds.max_slippage / 10_000:g} % slippage; it is durable"
    )


def _decomposed(event: IntentDecomposed, _: Context) -> str:
    steps = "1 step" if event.steps == 1 else f"{event.steps} steps"
    return (
        f"Its turn came with score {event.score:.4g} (by {event.score_source}): {event.why}; "
        f"it became {steps}"
    )


def halt_in_words(halt: Halt) -> str:
    """Say what a halt stops and why."""
    what = "everything" if halt.scope is Scope.ALL else f"{halt.scope.value} {halt.target}"
    how = "halted" if halt.mode is Mode.HALTED else "let only what reduces exposure through for"
    return f"{how} {what}: {halt.why}"


def _limit_set(event: LimitSet, _: Context) -> str:
    limit = event.limit
    what = f"at most {limit.amount}" if limit.listed is None else f"{len(limit.members)} members"
    return f"{event.principal} set the limit {limit.id}: {limit.kind.value}, {what}"


def _created(event: StepCreated, about: Context) -> str:
    return f"Step {event.step.ordinal} is to {_trade(event.step, about.book)}"


def _trade(step: Step, book: AssetBook) -> str:
    if step.sell.chain_id != step.buy.chain_id:
        moved = quantity(book, step.sell, step.amount)
        return f"move {moved} from chain {step.sell.chain_id} to {step.buy.chain_id}"
    if step.side is Side.SELL:
        return f"sell {quantity(book, step.sell, step.amount)} for {symbol(book, step.buy)}"
    return f"buy {quantity(book, step.buy, step.amount)} with {symbol(book, step.sell)}"


def _started(event: StepStarted, about: Context) -> str:
    return (
        f"Planned, {about.out(event.reserved)} reserved, a transaction signed and written down "
        f"before sending; the plan: {_planned(event.plan, about)}"
    )


def _planned(text: str, about: Context) -> str:
    """Say what a plan holds; a text of another form is given as it is."""
    try:
        plan = json.loads(text)
        through = "; ".join(_leg(leg, len(plan["legs"])) for leg in plan["legs"])
        gap = plan.get("gap_ppm")
        proven = (
            "" if gap is None else f", within {int(gap) / 100:g} bp of what any route could give"
        )
        selling = plan["side"] == Side.SELL.value
        worst = (about.into if selling else about.out)(int(plan["limit"]))
        return (
            f"{about.out(int(plan['amount_in']))} for {about.into(int(plan['amount_out']))} "
            f"through {through}, {'at least' if selling else 'at most'} {worst}, about "
            f"{plan['gas_estimate']} gas; best of {plan['considered']} paths at block "
            f"{plan['block_number']}{proven}, cost by {plan['estimated_by']}"
        )
    except (ValueError, KeyError, TypeError):
        return text[:MOST_OF_A_PLAN]


def _leg(leg: dict[str, Any], legs: int) -> str:
    """Say which pools a leg of a plan passes, and its share where there are several."""
    share = f"{int(leg['share_ppm']) / 10_000:g} % by " if legs > 1 else ""
    return share + ", then ".join(
        f"{hop['venue']} {int(hop['fee_ppm']) / 10_000:g} % ({_short(hop['pool'])})"
        for hop in leg["hops"]
    )


def _prepared(event: AttemptPrepared, _: Context) -> str:
    attempt = event.attempt
    return (
        f"A transaction ({attempt.purpose.value}) was signed on chain {attempt.chain_id} by "
        f"{attempt.account} with nonce {attempt.nonce} and written down; not sent yet"
    )


def _landed(inclusion: Inclusion) -> str:
    return (
        f"{_short(inclusion.tx_hash)} is in block {inclusion.block_number} and used "
        f"{inclusion.gas_used} gas at {inclusion.gas_price_wei / 10**9:.4g} gwei"
    )


def _allocated(event: FundsAllocated, about: Context) -> str:
    amount = quantity(about.book, event.asset, event.units)
    return f"{event.principal} moved {amount} from {event.source} to {event.target}"


def _observed(event: FundsObserved, about: Context) -> str:
    verb = "arrived" if event.units >= 0 else "left"
    amount = quantity(about.book, event.asset, abs(event.units))
    return f"{amount} {verb} by somebody else's doing, seen at block {event.block_number}"


def _breached(event: LedgerBreached, about: Context) -> str:
    held = quantity(about.book, event.asset, event.chain_units)
    booked = quantity(about.book, event.asset, event.ledger_units)
    return (
        f"At block {event.block_number} the chain holds {held} but the books say {booked}; "
        f"the account has stopped{'; ' + event.detail if event.detail else ''}"
    )


def _short(tx_hash: str) -> str:
    return tx_hash[:SHORT]


Say = Callable[[Any, Context], str]


_HERE: Final[Mapping[type, Say]] = {
    IntentAccepted: _accepted,
    IntentDecomposed: _decomposed,
    IntentCancelRequested: lambda e, _: f"{e.principal} asked to stop; nothing more begins",
    IntentCompleted: lambda e, _: f"Completed: {e.reason.value}",
    IntentPartiallyCompleted: lambda e, _: f"A part was done; the rest ended by {e.reason.value}",
    IntentCancelled: lambda e, _: f"Stopped before anything was done: {e.reason.value}",
    IntentExpired: lambda e, _: f"The window closed before anything was done: {e.reason.value}",
    IntentRejected: lambda e, about: (
        f"Rejected, nothing was sent: {e.reason.value}; {readable(e.detail, about.book)}"
    ),
    IntentFailed: lambda e, _: f"Failed: {e.reason.value}; {e.detail}",
    IntentReopened: lambda e, _: (
        f"Block {_short(e.block_hash)} left the chain and a fill with it: this has not ended yet"
    ),
    StepCreated: _created,
    StepRescheduled: lambda e, _: f"The slice moved to {e.due} and is now {e.amount} units",
    StepReleased: lambda _e, _: "The step is due and waits for the chain's next round",
    StepHeld: lambda e, _: f"It waits, a limit does not allow it yet: {e.detail}",
    StepStarted: _started,
    StepReplanned: lambda e, _: f"The market moved; planned anew at the same nonce: {e.plan}",
    StepRequeued: lambda e, _: f"No effect ({e.reason.value}: {e.detail}); it waits for a turn",
    StepFilled: lambda e, about: (
        f"Done in block {e.block_number} by {_short(e.tx_hash)}: {about.out(e.sold)} sold, "
        f"{about.into(e.bought)} bought"
    ),
    StepFinalized: lambda e, _: f"Block {e.block_number} makes the fill final",
    StepUnfilled: lambda e, _: f"Block {_short(e.block_hash)} left the chain, and the fill with it",
    StepNetted: lambda e, about: (
        f"Done without the chain, crossed at the mid with other strategies' opposite sales: "
        f"{about.out(e.sold)} sold, {about.into(e.bought)} bought"
    ),
    StepReduced: lambda e, about: (
        f"A part was crossed and is a step of its own; {about.out(e.amount)} are left"
    ),
    SalesNetted: lambda e, about: (
        f"{quantity(about.book, e.low, e.low_units)} and "
        f"{quantity(about.book, e.high, e.high_units)} changed hands between strategies at the "
        f"mid of block {e.block_number}"
    ),
    StepFailed: lambda e, _: f"The step failed: {e.reason.value}; {e.detail}",
    StepSkipped: lambda e, _: f"The slice was missed and is not made up: {e.reason.value}",
    StepCancelled: lambda e, _: f"Not begun when the intent was stopped: {e.reason.value}",
    StepExpired: lambda e, _: f"Not begun in time: {e.reason.value}",
    AttemptPrepared: _prepared,
    AttemptBroadcast: lambda e, _: (
        f"{_short(e.tx_hash)} was sent at block {e.block_number}; the node said: {e.answer}"
    ),
    AttemptBumped: lambda e, _: (
        f"Signed again at the same nonce as {_short(e.signed.tx_hash)}, offering up to "
        f"{e.signed.max_fee_wei / 10**9:.4g} gwei"
    ),
    AttemptIncluded: lambda e, _: f"{_landed(e.inclusion)}; it succeeded",
    AttemptReverted: lambda e, _: f"{_landed(e.inclusion)}; it reverted: {e.detail}",
    AttemptUnincluded: lambda e, _: f"Block {_short(e.block_hash)} left the chain; pending again",
    AttemptFinalized: lambda e, _: f"Final at block {e.block_number}; nothing can change it",
    AttemptReplaced: lambda e, _: f"Our {_short(e.tx_hash)} holds the nonce instead",
    AttemptDropped: lambda e, _: f"Somebody else's transaction used the nonce: {e.detail}",
    AttemptExpired: lambda e, _: f"Never sent; the nonce was given back: {e.detail}",
    AttemptUndecided: lambda e, _: f"Nobody can tell what became of it: {e.detail}",
    AttemptResolved: lambda e, _: f"{e.principal} vouches that it never landed: {e.detail}",
    AttemptWatched: lambda e, _: f"{e.principal} asks to look for it once more: {e.detail}",
    AttemptCancelled: lambda e, _: f"The cancelling {_short(e.tx_hash)} landed in its place",
    FundsObserved: _observed,
    FundsAllocated: _allocated,
    LedgerBreached: _breached,
    LaneResumed: lambda e, _: f"{e.principal} let the account go on: {e.note}",
    StrategyStarted: lambda e, _: f"{e.principal} started it: {e.source} with {e.params}",
    StrategyResumed: lambda e, _: f"{e.principal} resumed it",
    StrategyPaused: lambda e, _: f"{e.principal} paused it{': ' + e.detail if e.detail else ''}",
    StrategyStopped: lambda e, _: f"{e.principal} stopped it",
    LimitSet: _limit_set,
    LimitRemoved: lambda e, _: f"{e.principal} removed the limit {e.limit_id}",
    HaltPlaced: lambda e, _: f"{e.halt.principal} {halt_in_words(e.halt)}",
    HaltReleased: lambda e, _: f"{e.principal} released the halt: {e.why}",
}
SENTENCES: Final[Mapping[type, Say]] = {
    **_HERE,
    **explain_transfers.SENTENCES,
}
"""What every kind of event says of itself."""
