"""How one endpoint does: answers, latency, head, and what it was caught at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sep_ray.execution.ports import EndpointState

WEIGHT: Final = 0.2
"""A new latency's part in the average (EWMA)."""
FIRST_REST_S: Final = 0.5
LONGEST_REST_S: Final = 30.0
"""An endpoint that fails is asked last for so long, doubled with each failure in a row."""
FIRST_QUARANTINE_S: Final = 5.0
LONGEST_QUARANTINE_S: Final = 600.0
"""An endpoint that contradicts the others is asked last for so long, doubled each time."""
FORGIVEN_S: Final = 3_600.0
"""After so long without an offence the next one counts as the first."""
LAG_BLOCKS: Final = 3
"""Behind by so many blocks, an endpoint counts as lagging."""


class Health:
    """Kept by whoever talks to the endpoint; `clock` gives seconds that never jump."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.latency_s: float | None = None
        self.failures = 0
        """Requests in a row without an answer."""
        self.offences = 0
        self.evidence = ""
        """What it was last caught at, or why it last failed to answer."""
        self.head: int | None = None
        self._rests_until = 0.0
        self._quarantined_until = 0.0
        self._offended_at = 0.0

    def answered(self, seconds: float) -> None:
        """Note an answer and how long it took."""
        self.failures = 0
        self._rests_until = 0.0
        before = self.latency_s
        self.latency_s = seconds if before is None else before + WEIGHT * (seconds - before)

    def outrun(self, seconds: float) -> None:
        """Note that others answered meanwhile: it takes so long at the least."""
        if self.latency_s is None or seconds > self.latency_s:
            self.latency_s = seconds

    def failed(self, why: str) -> None:
        """Note that no answer came."""
        rest = min(FIRST_REST_S * 2 ** min(self.failures, 16), LONGEST_REST_S)
        self.failures += 1
        self.evidence = why
        self._rests_until = self._clock() + rest

    def contradicted(self, evidence: str) -> None:
        """Put it in quarantine: enough others agree on something else."""
        now = self._clock()
        if now - self._offended_at > FORGIVEN_S:
            self.offences = 0
        span = min(FIRST_QUARANTINE_S * 2 ** min(self.offences, 16), LONGEST_QUARANTINE_S)
        self.offences += 1
        self.evidence = evidence
        self._offended_at = now
        self._quarantined_until = now + span

    def state(self, best: int | None) -> EndpointState:
        """Return how it stands when the best known head is `best`."""
        now = self._clock()
        if now < self._quarantined_until:
            return EndpointState.QUARANTINED
        if now < self._rests_until:
            return EndpointState.FAILING
        return EndpointState.LAGGING if self.lag(best) >= LAG_BLOCKS else EndpointState.OK

    def lag(self, best: int | None) -> int:
        """Return how many blocks it is behind; 0 while its head is unknown."""
        if best is None or self.head is None:
            return 0
        return max(best - self.head, 0)
