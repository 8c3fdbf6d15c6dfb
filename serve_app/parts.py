"""What the HTTP service is put together from; each part can be a real one or a test's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sep_ray.intent.intent import Intent
from sep_ray.journal.board import Board
from sep_ray.journal.ports import Store
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Transient
from sep_ray.kernel.ids import IdSource
from sep_ray.kernel.units import Asset, ChainId
from sep_ray.policy.halts import Halt
from serve_app.assets import AssetBook
from serve_app.auth import Tokens
from serve_app.health import Probe
from serve_app.hints import Hints
from serve_app.limits import Limiter
from serve_app.paging import Cursors
from serve_app.plan_answers import PlanAnswer
from serve_app.strategies import Trial, in_own_process


class Planner(Protocol):
    """Says what an intent would lead to now."""

    async def plan(self, intent: Intent) -> PlanAnswer:
        """Return the plan; raise Transient when the chain is not being read."""


class Balances(Protocol):
    """Reads what a chain's accounts really hold."""

    async def compare(self, chain_id: ChainId) -> Mapping[Asset, tuple[int, int]]:
        """Return (ledger, chain) units of every booked asset, both as of one block.

        Raises Transient when that cannot be read now.
        """


Lanes = Callable[[ChainId], Awaitable[Sequence[Mapping[str, Any]]]]
"""How a chain's accounts stand, as its executor says; raises Transient when nobody can be asked."""


async def no_lanes(chain_id: ChainId) -> Sequence[Mapping[str, Any]]:
    """Say that nobody works on the chain."""
    raise Transient("nobody works on the chain", chain_id=chain_id)


class HaltLine(Protocol):
    """The quick way to those who send. It may fail: the database tells them too (P10)."""

    async def tell(self, halt: Halt) -> dict[str, bool]:
        """Tell every chain's executor of a halt; say which of them answered."""

    async def untell(self, halt_id: UUID) -> None:
        """Tell them that it was released, or never came to be."""


class NoLine:
    """Tells nobody."""

    async def tell(self, halt: Halt) -> dict[str, bool]:
        """Tell nobody."""
        return {}

    async def untell(self, halt_id: UUID) -> None:
        """Tell nobody."""


Nudge = Callable[[], None]


def nobody() -> None:
    """Nudge nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One replica's parts."""

    store: Store
    book: AssetBook
    clock: Clock
    ids: IdSource
    tokens: Tokens
    cursors: Cursors
    limiter: Limiter
    hints: Hints
    submissions_per_minute: int
    max_body_bytes: int
    probes: Mapping[str, Probe] = field(default_factory=dict)
    planner: Planner | None = None
    balances: Balances | None = None
    trial: Trial = in_own_process
    lanes: Lanes = no_lanes
    line: HaltLine = field(default_factory=NoLine)
    board: Board | None = None
    nudge: Nudge = nobody
    """Tells the supervisor that strategies have changed; returns at once."""
