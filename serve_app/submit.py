"""Submitting intents: the hot path, as bare ASGI.

Read, check, convert, count, commit, answer. What is refused is refused before anything is
written; 202 is said after the commit and never before (P1). Requests that arrive together share
one transaction, which the store sees to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from sep_ray.adapters import metrics
from sep_ray.intent.intent import Intent
from sep_ray.journal.records import Accepted, KeyReused, Submission, Verdict
from serve_app.auth import Principal, authorized
from serve_app.convert import to_intent
from serve_app.parts import Parts
from serve_app.problems import Problem, Wrong
from serve_app.reading import Receive, parse, problem_of, read_body, require_single_keys, wrongs
from serve_app.respond import Send, noted, send_json, send_problem
from serve_app.schemas import BatchBody, IntentBody

Scope = MutableMapping[str, Any]
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,200}")


class Submit:
    """POST of one intent."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 202 with where the intent can be seen, or a problem."""
        try:
            parts = self._parts()
            headers = dict(scope["headers"])
            principal = who(parts, headers, scope["path"])
            key = idempotency_key(headers)
            raw = await read_body(headers, receive, parts.max_body_bytes)
            body = parse(IntentBody, raw)
            principal.require_strategy(body.strategy_id)
            intent = to_intent(body, parts.book, parts.ids.next(), parts.clock.now())
            await parts.limiter.take(principal.name, 1)
            submission = Submission(
                intent=intent,
                principal=principal.name,
                key=key,
                digest=_digest(body) if key else b"",
            )
            (verdict,) = await accept(parts, [submission])
            if isinstance(verdict, KeyReused):
                raise key_reused(verdict)
        except Exception as error:
            await send_problem(send, error, scope["path"])
            return
        named = "accepted" if isinstance(verdict, Accepted) else "repeated"
        href = f"/v1/intents/{verdict.intent_id}"
        answer = f'{{"verdict":"{named}","id":"{verdict.intent_id}","href":"{href}"}}'
        await send_json(send, 202, answer.encode(), {"location": href})


class SubmitBatch:
    """POST of up to 1,000 intents, each with its own verdict."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 202 when all were accepted, 207 when some were not, or a problem."""
        try:
            parts = self._parts()
            headers = dict(scope["headers"])
            principal = who(parts, headers, scope["path"])
            key = idempotency_key(headers)
            raw = await read_body(headers, receive, parts.max_body_bytes)
            items = [
                _checked(item, place, key, parts, principal)
                for place, item in enumerate(read_batch(raw))
            ]
            good = [item for item in items if isinstance(item, Submission)]
            if good:
                await parts.limiter.take(principal.name, len(good))
                verdicts = await accept(parts, good)
            else:
                verdicts = ()
        except Exception as error:
            await send_problem(send, error, scope["path"])
            return
        counts, lines = _lines(items, verdicts, scope["path"])
        status = 202 if not counts["refused"] else 207
        head = b"".join(b'"%s":%d,' % (name.encode(), count) for name, count in counts.items())
        await send_json(send, status, b"{" + head + b'"verdicts":[' + b",".join(lines) + b"]}")


@dataclass(slots=True)
class Noop:
    """Reads the body and answers: what a request costs before any work; for benchmarks."""

    parts: Callable[[], Parts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 202 with a body like a submission's."""
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        name = UUID(int=0)
        answer = f'{{"verdict":"accepted","id":"{name}","href":"/v1/intents/{name}"}}'
        await send_json(send, 202, answer.encode(), {"location": f"/v1/intents/{name}"})


def who(parts: Parts, headers: Mapping[bytes, bytes], path: str) -> Principal:
    """Return who asks, or raise a 401 or 403 Problem."""
    principal = parts.tokens.principal(headers.get(b"authorization", b"").decode("latin-1"))
    authorized(principal, "POST", path)
    return principal


def idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the Idempotency-Key header, or raise a 422 Problem."""
    raw = headers.get(b"idempotency-key")
    if raw is None:
        return None
    if not _KEY.fullmatch(raw):
        raise Problem.of_field("Idempotency-Key", "is not acceptable", "1..200 visible characters")
    return raw.decode("ascii")


async def accept(parts: Parts, batch: Sequence[Submission]) -> tuple[Verdict, ...]:
    """Make submissions durable, count them, and tell the router."""
    verdicts = await parts.store.accept(batch, parts.clock.now())
    fresh = [
        submission.intent
        for submission, verdict in zip(batch, verdicts, strict=True)
        if isinstance(verdict, Accepted)
    ]
    if fresh:
        metrics.submitted(fresh)
        parts.hints.add([intent.id for intent in fresh])
    return verdicts


def key_reused(verdict: KeyReused) -> Problem:
    """Return the problem of a key that came before with another body."""
    return Problem(
        "key_reused",
        f"it belongs to intent {verdict.intent_id}",
        headers={"Location": f"/v1/intents/{verdict.intent_id}"},
    )


def read_batch(raw: bytes) -> Sequence[IntentBody | Problem]:
    """Return each intent of a batch, or what is wrong with it; raise when it is no batch."""
    try:
        intents = BatchBody.model_validate_json(raw).intents
    except ValidationError as error:
        found = wrongs(BatchBody, error)
        if found is None or any(not wrong.field.startswith("intents[") for wrong in found):
            raise problem_of(BatchBody, error) from None
    else:
        require_single_keys(raw)
        return intents
    require_single_keys(raw)
    return [_item(item, place) for place, item in enumerate(from_json(raw)["intents"])]


def _item(item: object, place: int) -> IntentBody | Problem:
    try:
        return IntentBody.model_validate_json(to_json(item))
    except ValidationError as error:
        return _placed(problem_of(IntentBody, error), place)


def _checked(
    item: IntentBody | Problem, place: int, key: str | None, parts: Parts, principal: Principal
) -> Submission | Problem:
    if isinstance(item, Problem):
        return item
    try:
        principal.require_strategy(item.strategy_id)
        intent: Intent = to_intent(item, parts.book, parts.ids.next(), parts.clock.now())
    except Problem as problem:
        return _placed(problem, place)
    return Submission(
        intent=intent,
        principal=principal.name,
        key=f"{key}/{place}" if key else None,
        digest=_digest(item) if key else b"",
    )


def _placed(problem: Problem, place: int) -> Problem:
    """Return a problem of one intent with paths as they are in the batch."""
    if not problem.wrong:
        return problem
    prefix = f"intents[{place}]"
    return Problem.of_fields(
        [
            Wrong(
                prefix if wrong.field == "body" else f"{prefix}.{wrong.field}",
                wrong.code,
                wrong.detail,
                wrong.allowed,
            )
            for wrong in problem.wrong
        ]
    )


def _lines(
    items: Sequence[Submission | Problem], verdicts: Sequence[Verdict], path: str
) -> tuple[dict[str, int], list[bytes]]:
    counts = {"accepted": 0, "repeated": 0, "refused": 0}
    lines, rest = [], iter(verdicts)
    for place, item in enumerate(items):
        outcome: Verdict | Problem = item if isinstance(item, Problem) else next(rest)
        if isinstance(outcome, KeyReused):
            outcome = key_reused(outcome)
        if isinstance(outcome, Problem):
            counts["refused"] += 1
            problem, instance = noted(outcome, path)
            lines.append(
                b'{"index":%d,"verdict":"refused","status":%d,"problem":%s}'
                % (place, problem.status, problem.body(instance))
            )
        else:
            named = "accepted" if isinstance(outcome, Accepted) else "repeated"
            counts[named] += 1
            lines.append(
                b'{"index":%d,"verdict":"%s","status":202,"id":"%s"}'
                % (place, named.encode(), str(outcome.intent_id).encode())
            )
    return counts, lines


def _digest(body: IntentBody) -> bytes:
    """Identify what was asked for, not how it was spelled: spaces and order do not count."""
    return hashlib.sha256(body.model_dump_json().encode()).digest()
