"""Which strategy a request is about: one that the token covers, and that there is."""

from __future__ import annotations

from sep_ray.journal.ports import Store
from sep_ray.journal.records import IntentFilter
from sep_ray.portfolio.ledger import TREASURY
from serve_app.auth import Principal
from serve_app.problems import Problem


def within_scope(principal: Principal, strategy_id: str | None) -> str | None:
    """Return the strategy a list is for, or raise a Problem for one outside the token's scope."""
    if principal.strategies is None:
        return strategy_id
    if strategy_id is None and len(principal.strategies) == 1:
        return next(iter(principal.strategies))
    if strategy_id is None:
        allowed = ", ".join(sorted(principal.strategies))
        raise Problem.of_field("strategy_id", "is required", allowed, "missing_field")
    principal.require_strategy(strategy_id)
    return strategy_id


async def require_known(store: Store, principal: Principal, strategy_id: str | None) -> None:
    """Raise an unknown_strategy Problem for a name that nothing was ever done under.

    To be asked where nothing was found. A strategy is also known by an intent, by what it once
    held, or by the token that is for it.
    """
    if strategy_id in (None, TREASURY) or strategy_id in (principal.strategies or ()):
        return
    known = (
        await store.has_held(strategy_id)
        or await store.strategy(strategy_id) is not None
        or await store.page_of_intents(IntentFilter(strategy_id=strategy_id), None, 1)
    )
    if not known:
        raise Problem.of_field("strategy_id", "is not known", code="unknown_strategy")
