"""Who may do what: signed tokens, four roles, one table.

A token is a JWT (HS256) with the claims sub (the principal), role, aud, iss, iat, exp and, where
it is meant for certain strategies only, strategies. There is no default secret: it comes from
the settings or is made at the first start and kept, readable by its owner only, in the state
folder.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import jwt

from sep_ray.kernel.clock import Clock, Millis
from serve_app.problems import Problem

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "sep"
ISSUER: Final = "sep"
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="sep"'}
_KEPT: Final = 4_096
"""Tokens remembered as verified."""


class Role(IntEnum):
    """Each role may do what those before it may."""

    VIEWER = 1  # reads
    TRADER = 2  # submits and cancels intents
    RISK = 3  # halts, releases, sets limits; pauses, resumes and stops strategies
    ADMIN = 4  # starts strategies (their code runs here) and moves money between them


ROUTES: Final[Mapping[tuple[str, str], Role | None]] = {
    ("POST", "/v1/intents"): Role.TRADER,
    ("POST", "/v1/intents/batch"): Role.TRADER,
    ("GET", "/v1/intents"): Role.VIEWER,
    ("GET", "/v1/intents/summary"): Role.VIEWER,
    ("GET", "/v1/intents/{intent_id}"): Role.VIEWER,
    ("DELETE", "/v1/intents/{intent_id}"): Role.TRADER,
    ("GET", "/v1/intents/{intent_id}/why"): Role.VIEWER,
    ("GET", "/v1/why/{reference}"): Role.VIEWER,
    ("POST", "/intents"): Role.TRADER,
    ("GET", "/intents"): Role.VIEWER,
    ("GET", "/intents/{intent_id}"): Role.VIEWER,
    ("DELETE", "/intents/{intent_id}"): Role.TRADER,
    ("POST", "/v1/plans"): Role.TRADER,
    ("GET", "/v1/portfolio"): Role.VIEWER,
    ("POST", "/v1/portfolio/allocations"): Role.ADMIN,
    ("GET", "/v1/transfers"): Role.VIEWER,
    ("GET", "/v1/transfers/{transfer_id}"): Role.VIEWER,
    ("POST", "/v1/transfers/{transfer_id}/release"): Role.RISK,
    ("GET", "/v1/strategies"): Role.VIEWER,
    ("GET", "/v1/strategies/{strategy_id}"): Role.VIEWER,
    ("POST", "/v1/strategies"): Role.ADMIN,
    ("POST", "/v1/strategies/{strategy_id}/pause"): Role.RISK,
    ("POST", "/v1/strategies/{strategy_id}/resume"): Role.RISK,
    ("POST", "/v1/strategies/{strategy_id}/stop"): Role.RISK,
    ("POST", "/v1/halts"): Role.RISK,
    ("GET", "/v1/halts"): Role.VIEWER,
    ("DELETE", "/v1/halts/{halt_id}"): Role.RISK,
    ("GET", "/v1/limits"): Role.VIEWER,
    ("POST", "/v1/limits"): Role.RISK,
    ("DELETE", "/v1/limits/{limit_id}"): Role.RISK,
    ("GET", "/v1/lanes"): Role.VIEWER,
    ("POST", "/v1/lanes/{chain_id}/{account}/resume"): Role.RISK,
    ("GET", "/v1/attempts"): Role.VIEWER,
    ("GET", "/v1/attempts/{attempt_id}"): Role.VIEWER,
    ("POST", "/v1/attempts/{attempt_id}/resolve"): Role.RISK,
    ("GET", "/v1/assets"): Role.VIEWER,
    ("GET", "/v1/whoami"): Role.VIEWER,
    ("WEBSOCKET", "/v1/stream"): Role.VIEWER,
    ("GET", "/health"): None,
    ("GET", "/metrics"): None,
    ("GET", "/openapi.json"): None,
    ("GET", "/docs"): None,
    ("POST", "/v1/bench/noop"): None,
    ("POST", "/v1/bench/route"): None,
}
"""The least role of every route; None is open to all: counts and names of services, no data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. `strategies` None means all of them."""

    name: str
    role: Role
    expires_at: Millis
    strategies: frozenset[str] | None = None

    def require_strategy(self, strategy_id: str) -> None:
        """Raise a Problem unless the token covers the strategy."""
        if not self.covers(strategy_id):
            raise Problem("out_of_scope", f"{self.name} may not act for {strategy_id[:80]}")

    def covers(self, strategy_id: str) -> bool:
        """Say whether the token covers the strategy."""
        return self.strategies is None or strategy_id in self.strategies


class Tokens:
    """Makes and verifies tokens under one secret; remembers what it has verified."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self._verified: dict[str, Principal] = {}

    def mint(
        self, name: str, role: Role, ttl_s: int, strategies: Sequence[str] | None = None
    ) -> str:
        """Return a token for `name` that is valid for `ttl_s` seconds from now."""
        now = self._clock.now() // 1_000
        claims: dict[str, Any] = {
            "sub": name,
            "role": role.name.lower(),
            "aud": AUDIENCE,
            "iss": ISSUER,
            "iat": now,
            "exp": now + ttl_s,
        }
        if strategies is not None:
            claims["strategies"] = sorted(strategies)
        return jwt.encode(claims, self._secret, ALGORITHM)

    def principal(self, authorization: str | None) -> Principal:
        """Return who an Authorization header stands for, or raise a 401 Problem."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _refused("unauthenticated", "send the header: Authorization: Bearer <token>")
        return self.verify(token.strip())

    def verify(self, token: str) -> Principal:
        """Return who a token stands for, or raise a 401 Problem."""
        principal = self._verified.get(token)
        if principal is None:
            principal = self._decoded(token)
            if len(self._verified) >= _KEPT:
                self._verified.clear()
            self._verified[token] = principal
        if self._clock.now() >= principal.expires_at:
            raise _refused("token_expired", "ask for a new one")
        return principal

    def _decoded(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                # Judged by our own clock, and again at every use of a remembered token.
                options={
                    "require": ["sub", "role", "aud", "iss", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
            return _principal(claims)
        except (jwt.PyJWTError, ValueError, KeyError, TypeError, OverflowError):
            raise _refused("token_invalid", "it was not made here, or not for this") from None


def authorized(principal: Principal, method: str, path: str) -> None:
    """Raise a 403 Problem unless the principal's role reaches the route's."""
    least = ROUTES[method, path]
    if least is not None and principal.role < least:
        raise Problem("forbidden", f"this needs the role {least.name.lower()} or above")


def token_secret(configured: str | None, state_dir: Path) -> str:
    """Return the secret tokens are signed with; made and kept at the first call."""
    if configured is not None:
        return configured
    file = state_dir / "secrets" / "jwt"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f"jwt.{os.getpid()}")
    if not file.exists():
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_urlsafe(48))
        try:
            os.link(fresh, file)  # whoever comes first; never a half-written file
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return file.read_text().strip()


def _principal(claims: Mapping[str, Any]) -> Principal:
    name, role, scope = claims["sub"], claims["role"], claims.get("strategies")
    if not isinstance(name, str) or not isinstance(role, str):
        raise ValueError("sub and role are texts")
    if not name or not name.isprintable():
        raise ValueError("sub is what people read")
    if scope is not None and not (
        isinstance(scope, list) and scope and all(isinstance(each, str) for each in scope)
    ):
        raise ValueError("strategies is a list of texts")
    return Principal(
        name=name,
        role=Role[role.upper()],
        expires_at=Millis(int(claims["exp"]) * 1_000),
        strategies=None if scope is None else frozenset(scope),
    )


def _refused(code: str, detail: str) -> Problem:
    return Problem(code, detail, headers=CHALLENGE)
