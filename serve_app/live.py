"""The WebSocket route."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, WebSocket

from serve_app.asking import Asked, Caller, id_of
from serve_app.explain import SENTENCES
from serve_app.problems import Problem
from serve_app.stream import Client, Hub, Wanted

PROTOCOL = "sep.v1"
EVENTS = frozenset(event.__name__ for event in SENTENCES)


async def live_events(
    socket: WebSocket,
    parts: Asked,
    principal: Caller,
    after: Annotated[int | None, Query(ge=0)] = None,
    last_event_id: Annotated[int | None, Query(ge=0)] = None,
    intent_id: str | None = None,
    type: str | None = None,
) -> None:
    """Send events above `after` (or `last_event_id`), or from now on, until the client leaves.

    `intent_id` and `type` (names of events, by commas) choose among them.
    """
    hub: Hub = socket.app.state.hub
    strange = sorted(set(type.split(",")) - EVENTS) if type else []
    if strange:
        raise Problem.of_field("type", "is no kind of event", "such as IntentCompleted, StepFilled")
    wanted = Wanted(
        intent_id=id_of(intent_id, "intent") if intent_id else None,
        kinds=frozenset(type.split(",")) if type else None,
    )
    newest = await parts.store.newest()
    given = after if after is not None else last_event_id
    start = newest if given is None else max(0, min(given, newest))
    await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
    client = Client(socket, parts.store, hub, parts.book, principal, wanted)
    await client.serve(start, lambda: (principal.expires_at - parts.clock.now()) / 1_000)
