"""The error tree.

* SepError            every error we raise on purpose
  - Rejected          the caller asked for something we will not do; never retried
  - Transient         the world was not ready; safe to retry as is
  - Indeterminate     the effect may or may not have happened; reconcile first
  - InvariantBroken   our own bug; the actor stops and the supervisor restarts it
"""

from __future__ import annotations

from typing import Any


def _rebuild(cls: type[SepError], message: str, facts: dict[str, Any]) -> SepError:
    return cls(message, **facts)


class SepError(Exception):
    """Every error we raise on purpose; survives pickling between Ray processes."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.facts)

    def __str__(self) -> str:
        if not self.facts:
            return self.message
        return f"{self.message} ({', '.join(f'{k}={v}' for k, v in self.facts.items())})"


class Rejected(SepError):
    """The caller asked for something we will not do; never retried."""


class Transient(SepError):
    """The world was not ready; safe to retry as is."""


class Indeterminate(SepError):
    """The effect may or may not have happened; reconcile before acting again."""


class InvariantBroken(SepError):
    """Our own bug; stop rather than guess."""
