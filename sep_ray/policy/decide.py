"""Whether something may be signed: a total function of request, limits and usage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sep_ray.execution.attempt import Purpose
from sep_ray.kernel.clock import Millis
from sep_ray.kernel.units import PPM, Asset, Rounding, divide
from sep_ray.policy.codes import Denial
from sep_ray.policy.limits import Kind, Limit, Listed, Measure, Subject
from sep_ray.policy.request import Movement, Request, value_of
from sep_ray.policy.usage import FOREVER, Marks, Reservation, Usage

FRESH_MS: Final = 300_000
"""How long a strategy's marks count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """It may be signed, once these shares of the limits are booked."""

    reservations: tuple[Reservation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """It may not. `value` is what it comes to, in the unit of the limit, where it counts one.

    `free_at` is when time or the end of what is in flight may let it through; None when waiting
    cannot help.
    """

    code: Denial
    limit: Limit | None = None
    value: int | None = None
    detail: str = ""
    free_at: Millis | None = None

    def __str__(self) -> str:
        named = f" by {self.limit.id}" if self.limit is not None else ""
        over = ""
        if self.limit is not None and self.value is not None:
            over = f": {self.value} {self.limit.measure.value}, at most {self.limit.amount}"
        return f"{self.code.value}{named}{over}" + (f" ({self.detail})" if self.detail else "")


Decision = Allowed | Denied
_Judged = Reservation | Denied | None


def decide(request: Request, limits: Iterable[Limit], usage: Usage) -> Decision:
    """Say whether a request may be signed, and which shares of the limits it takes.

    Every limit about the request is judged. Of several denials the one counts for which waiting
    helps least. A cancel is never denied by a limit, as it can only take risk away, but it must
    be one; its gas counts.
    """
    if request.cancels and not request.harmless:
        return Denied(code=Denial.NOT_A_CANCEL)
    judged = [
        _JUDGES[limit.kind](request, limit, usage)
        for limit in limits
        if concerns(limit.subject, request)
    ]
    denials = [each for each in judged if isinstance(each, Denied)]
    if denials:
        return max(denials, key=lambda each: (each.free_at is None, each.free_at or 0))
    return Allowed(reservations=tuple(each for each in judged if isinstance(each, Reservation)))


def concerns(subject: Subject, request: Request) -> bool:
    """Whether a limit with this subject is about the request."""
    assets = {moved.asset for moved in request.moved}
    return (
        subject.strategy_id in (None, request.strategy_id)
        and subject.chain_id in (None, request.chain_id)
        and subject.contract in (None, request.contract)
        and subject.selector in (None, request.selector)
        and (subject.asset is None or subject.asset in assets)
    )


def _each(request: Request, limit: Limit, usage: Usage) -> _Judged:
    amount = _amount(request, limit)
    if amount is None or isinstance(amount, Denied) or request.cancels:
        return amount if isinstance(amount, Denied) else None
    code = Denial.GAS_BUDGET if limit.measure is Measure.GAS else Denial.TRANSACTION_LIMIT
    return None if amount <= limit.amount else Denied(code=code, limit=limit, value=amount)


def _window(request: Request, limit: Limit, usage: Usage) -> _Judged:
    amount = _amount(request, limit)
    if amount is None or isinstance(amount, Denied):
        return amount
    window = limit.window_ms or 0
    slot = request.at - request.at % limit.slot_ms
    since = request.at - window - limit.slot_ms + 1
    used = usage.since(limit.id, since)
    if used + amount <= limit.amount or request.cancels:
        return _taken(request, limit, amount, slot=slot, since=since)
    code = Denial.GAS_BUDGET if limit.measure is Measure.GAS else Denial.WINDOW_LIMIT
    free = _free_at(limit, usage, amount)
    return Denied(code=code, limit=limit, value=used + amount, free_at=free)


def _free_at(limit: Limit, usage: Usage, amount: int) -> Millis | None:
    """When enough has left the window; None when it does not even fit an empty one."""
    if amount > limit.amount:
        return None
    slots = sorted(usage.slots.get(limit.id, ()), key=lambda slot: slot.start)
    left = sum(slot.amount for slot in slots)
    for slot in slots:
        left -= slot.amount
        if left + amount <= limit.amount:
            return Millis(slot.start + (limit.window_ms or 0) + limit.slot_ms)
    return None


def _total(request: Request, limit: Limit, usage: Usage) -> _Judged:
    amount = _amount(request, limit)
    if amount is None or isinstance(amount, Denied):
        return amount
    used = usage.since(limit.id, FOREVER)
    if used + amount <= limit.amount or request.cancels:
        return _taken(request, limit, amount, slot=FOREVER, since=FOREVER)
    code = Denial.GAS_BUDGET if limit.measure is Measure.GAS else Denial.TOTAL_LIMIT
    return Denied(code=code, limit=limit, value=used + amount)


def _position(request: Request, limit: Limit, usage: Usage) -> _Judged:
    """Judge what all strategies of the subject would hold, with what is being bought.

    Buying the numeraire takes no position unless the limit names it. The bound shrinks by what
    is held, so that what two buyers have on the way counts once, in the reservations.
    """
    buys, asset = request.buys, limit.subject.asset
    if buys is None or request.again or request.sells is None:
        return None
    if (asset is not None and buys.asset != asset) or (asset is None and request.reduces):
        return None
    found = _counted(buys, limit, request)
    held = _held(request, limit, usage)
    if isinstance(found, Denied):
        return found
    if isinstance(held, Denied):
        return held
    on_the_way = usage.since(limit.id, FOREVER)
    bound = limit.amount - held
    if on_the_way + found <= bound:
        return _taken(request, limit, found, slot=FOREVER, since=FOREVER, bound=bound)
    waits = on_the_way > 0 and found <= bound
    return Denied(
        code=Denial.POSITION_LIMIT,
        limit=limit,
        value=held + on_the_way + found,
        free_at=request.at if waits else None,
    )


def _held(request: Request, limit: Limit, usage: Usage) -> int | Denied:
    strategy, asset, total = limit.subject.strategy_id, limit.subject.asset, 0
    for (owner, what), units in sorted(usage.held.items()):
        ours = strategy in (None, owner) and limit.subject.chain_id in (None, what.chain_id)
        counts = what == asset if asset is not None else what != request.numeraire
        if not units or not ours or not counts or what.chain_id != request.chain_id:
            continue
        value = _counted(Movement(asset=what, units=units), limit, request)
        if isinstance(value, Denied):
            return value
        total += value
    return total


def _daily_loss(request: Request, limit: Limit, usage: Usage) -> _Judged:
    marks = _marks(request, usage)
    if request.reduces or request.sells is None:
        return None
    if marks is None:
        return Denied(code=Denial.NO_MARK, limit=limit, free_at=request.at)
    loss = marks.day_profit - marks.profit
    if loss < limit.amount:
        return None
    return Denied(code=Denial.DAILY_LOSS, limit=limit, value=loss)


def _drawdown(request: Request, limit: Limit, usage: Usage) -> _Judged:
    marks = _marks(request, usage)
    if request.reduces or request.sells is None:
        return None
    if marks is None:
        return Denied(code=Denial.NO_MARK, limit=limit, free_at=request.at)
    fall = marks.high_profit - marks.profit
    if limit.measure is Measure.PPM:
        best = marks.given + marks.high_profit
        fall = divide(max(fall, 0) * PPM, best, Rounding.UP) if best > 0 else PPM
    if fall < limit.amount:
        return None
    return Denied(code=Denial.DRAWDOWN, limit=limit, value=fall)


def _marks(request: Request, usage: Usage) -> Marks | None:
    """Return the strategy's marks, unless they are too old to say anything."""
    marks = usage.marks.get(request.strategy_id)
    return marks if marks is not None and request.at - marks.at <= FRESH_MS else None


def _list(request: Request, limit: Limit, usage: Usage) -> _Judged:
    """Judge membership. What serves no call of its own (a cancel) is on every list.

    A spender must be on the spenders' list and, like every contract that is called for its
    effect, on the contracts' list. An approval calls its token: that is a matter of assets. Our
    own accounts are no contracts: coin may go from one to another.
    """
    if request.cancels or limit.listed is None:
        return None
    names = _NAMED[limit.listed](request)
    code = _UNLISTED[limit.listed]
    if names is None:
        return Denied(code=Denial.UNREADABLE_CALL, limit=limit, detail=limit.listed.value)
    missing = sorted(names - limit.members)
    return Denied(code=code, limit=limit, detail=missing[0]) if missing else None


def _contracts(request: Request) -> frozenset[str] | None:
    called = {request.contract} if request.contract and request.approves is None else set()
    return frozenset((called - request.own) | request.spenders)


def _selectors(request: Request) -> frozenset[str] | None:
    called = request.selector and request.approves is None
    return frozenset({request.selector} if called else ())


def _assets(request: Request) -> frozenset[str] | None:
    if _unread_approval(request):
        return None
    return frozenset(str(moved.asset) for moved in request.moved)


def _recipients(request: Request) -> frozenset[str] | None:
    found = request.recipients
    return None if found is None else found - request.own


def _spenders(request: Request) -> frozenset[str] | None:
    if _unread_approval(request):
        return None
    return request.spenders


def _unread_approval(request: Request) -> bool:
    return request.purpose is Purpose.APPROVAL and request.approves is None


def _amount(request: Request, limit: Limit) -> int | Denied | None:
    """Return what the request comes to in the limit's measure; None when it takes none of it."""
    if limit.measure is Measure.GAS:
        return request.gas_wei
    if request.again or request.cancels:
        return None
    if limit.measure is Measure.COUNT:
        return 1
    moved = _moved(request, limit.subject.asset)
    return None if moved is None else _counted(moved, limit, request)


def _moved(request: Request, asset: Asset | None) -> Movement | None:
    """Return what a limit counts: what is sold, or what is bought of the asset it names."""
    if request.sells is None:
        return None
    if asset is None or request.sells.asset == asset:
        return request.sells
    return request.buys


def _counted(moved: Movement, limit: Limit, request: Request) -> int | Denied:
    """Return units or value; value is rounded up, and without a price there is no answer."""
    if limit.measure is Measure.UNITS:
        return moved.units
    value = value_of(moved, request.prices, Rounding.UP)
    if value is None:
        return Denied(
            code=Denial.NO_PRICE, limit=limit, detail=str(moved.asset), free_at=request.at
        )
    return value


def _taken(
    request: Request,
    limit: Limit,
    amount: int,
    *,
    slot: int,
    since: int,
    bound: int | None = None,
) -> Reservation:
    most = limit.amount if bound is None else bound
    return Reservation(
        limit_id=limit.id,
        kind=limit.kind,
        measure=limit.measure,
        slot=slot,
        amount=amount,
        since=since,
        bound=None if request.cancels else most,
    )


_JUDGES: Final[Mapping[Kind, Callable[[Request, Limit, Usage], _Judged]]] = {
    Kind.TRANSACTION: _each,
    Kind.WINDOW: _window,
    Kind.TOTAL: _total,
    Kind.POSITION: _position,
    Kind.DAILY_LOSS: _daily_loss,
    Kind.DRAWDOWN: _drawdown,
    Kind.LIST: _list,
}
_NAMED: Final[Mapping[Listed, Callable[[Request], frozenset[str] | None]]] = {
    Listed.CONTRACTS: _contracts,
    Listed.SELECTORS: _selectors,
    Listed.ASSETS: _assets,
    Listed.RECIPIENTS: _recipients,
    Listed.SPENDERS: _spenders,
}
_UNLISTED: Final[Mapping[Listed, Denial]] = {
    Listed.CONTRACTS: Denial.CONTRACT_NOT_LISTED,
    Listed.SELECTORS: Denial.SELECTOR_NOT_LISTED,
    Listed.ASSETS: Denial.ASSET_NOT_LISTED,
    Listed.RECIPIENTS: Denial.RECIPIENT_NOT_LISTED,
    Listed.SPENDERS: Denial.SPENDER_NOT_LISTED,
}
