"""Strategies through the API: tried in a process of their own, then enrolled.

Loading a file runs it. A text that hangs, exits or crashes does so in a short-lived process and
not in the one that answers requests.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from sep_ray.adapters.evm.addresses import TOKENS
from sep_ray.engine.enrolment import Enrolment, NotNow
from sep_ray.journal.ports import Store
from sep_ray.kernel.clock import Clock
from sep_ray.kernel.errors import Rejected
from sep_ray.strategy.load import BadStrategy, check
from sep_ray.strategy.record import StrategyRecord, StrategyStatus
from sep_ray.strategy.tokens import Tokens
from serve_app.problems import Problem
from serve_app.schemas import StrategyBody

TRIAL_S: Final = 20.0
WENT_WELL: Final = 41
"""The trial's exit code; a text that ends the process early does not know it."""
CHANGES: Final[Mapping[str, StrategyStatus]] = {
    "pause": StrategyStatus.PAUSED,
    "resume": StrategyStatus.RUNNING,
    "stop": StrategyStatus.STOPPED,
}
Trial = Callable[[StrategyBody], Awaitable[None]]


class Desk:
    """Starts, pauses, resumes and stops strategies."""

    def __init__(self, store: Store, clock: Clock, trial: Trial) -> None:
        self._store = store
        self._clock = clock
        self._trial = trial
        self._enrolment = Enrolment(store, store, Tokens(TOKENS.values()))

    async def start(self, body: StrategyBody, principal: str) -> StrategyRecord:
        """Register and start a strategy; a 422 Problem says what its code or parameters lack."""
        if body.code:
            await self._trial(body)
        try:
            return await self._enrolment.start(
                body.id,
                source=body.source,
                code=body.code,
                params=json.dumps(body.params),
                principal=principal,
                at=self._clock.now(),
            )
        except Rejected as error:
            raise _refused(error) from None

    async def change(self, strategy_id: str, change: str, principal: str) -> StrategyRecord:
        """Pause, resume or stop; one that is already so is left as it is."""
        record = await self._store.strategy(strategy_id)
        if record is None:
            raise Problem("not_found", f"no strategy {strategy_id[:80]}")
        if record.status is CHANGES[change]:
            return record
        moves = {
            "pause": self._enrolment.pause,
            "resume": self._enrolment.resume,
            "stop": self._enrolment.stop,
        }
        try:
            return await moves[change](strategy_id, principal=principal, at=self._clock.now())
        except Rejected as error:
            raise _refused(error) from None


async def in_own_process(body: StrategyBody) -> None:
    """Load a strategy's text in a process of its own; a 422 Problem when that does not end.

    What the text lacks as a strategy is said by the enrolment, which loads it again.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "serve_app.strategies",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(process.communicate(body.model_dump_json().encode()), TRIAL_S)
    except TimeoutError:
        detail = f"did not load within {TRIAL_S:g} s"
        raise Problem.of_field("code", detail, "a text that only defines things") from None
    finally:
        if process.returncode is None:  # too slow, or nobody waits for it any more
            process.kill()
            await process.wait()
    if process.returncode != WENT_WELL:
        raise Problem.of_field("code", "ended its process", "a text that only defines things")


def _refused(error: Rejected) -> Problem:
    if isinstance(error, NotNow):
        return Problem("not_allowed_now", str(error))
    field = error.facts.get("field")
    if field is None:
        field = "source" if isinstance(error, BadStrategy) else "params"
    elif field != "id":
        field = f"params.{field}"
    said = error.message.removeprefix(f"{error.facts.get('field')} ")
    return Problem.of_field(str(field), said, error.facts.get("allowed"))


def _try() -> int:
    body = StrategyBody.model_validate_json(sys.stdin.buffer.read())
    with suppress(Rejected):
        check(body.source, body.code, json.dumps(body.params), Tokens(TOKENS.values()))
    return WENT_WELL


if __name__ == "__main__":
    sys.exit(_try())
