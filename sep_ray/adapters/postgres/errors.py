"""What asyncpg raises, said in our words, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from sep_ray.kernel.errors import Indeterminate, InvariantBroken, Rejected, SepError, Transient

LOST: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""The connection is gone or never was; whether the last words arrived is not known."""

_ROLLED_BACK = (
    asyncpg.TransactionRollbackError,  # class 40: deadlock, serialisation
    asyncpg.InsufficientResourcesError,  # class 53: disk, memory, connections
    asyncpg.ObjectNotInPrerequisiteStateError,  # class 55: lock not available in time
    asyncpg.OperatorInterventionError,  # class 57: cancelled, statement timeout
    asyncpg.ReadOnlySQLTransactionError,  # a standby answered: a failover is under way
    asyncpg.InvalidCachedStatementError,  # the schema moved under a prepared statement
)


@dataclass(slots=True)
class Phase:
    """How far a unit of work has come; `committing` from the moment COMMIT may have been sent."""

    committing: bool = False


@contextmanager
def translated(phase: Phase) -> Iterator[None]:
    """Raise ours for asyncpg's: Transient when nothing was written, Indeterminate if unknown."""
    try:
        yield
    except LOST as error:
        raise _unanswered(error, phase) from error
    except asyncpg.PostgresError as error:
        raise _answered(error) from error


def _unanswered(error: BaseException, phase: Phase) -> SepError:
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Rejected("the database cannot store this", why=_why(error))  # was never sent
    if phase.committing:
        return Indeterminate("the database was lost while committing", why=_why(error))
    return Transient("the database is not there", why=_why(error))


def _answered(error: asyncpg.PostgresError) -> SepError:
    """Translate an error the server reported: the transaction was rolled back."""
    if isinstance(error, _ROLLED_BACK):
        return Transient("the database could not do it now", why=_why(error))
    if isinstance(error, asyncpg.DataError):
        return Rejected("the database cannot store this", why=_why(error))
    if isinstance(error, asyncpg.IntegrityConstraintViolationError | asyncpg.SyntaxOrAccessError):
        return InvariantBroken("a database rule was broken", why=_why(error))
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return Rejected("the database refuses us", why=_why(error))
    return Indeterminate("the database answered something unexpected", why=_why(error))


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
