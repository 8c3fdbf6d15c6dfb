"""The WebSocket route."""

from __future__ import annotations

from fastapi import WebSocket

from serve_app.asking import Asked, Caller, id_of
from serve_app.stream import Client, Hub, Wanted

PROTOCOL = "sep.v1"


async def live_events(
    socket: WebSocket,
    parts: Asked,
    principal: Caller,
    after: int | None = None,
    last_event_id: int | None = None,
    intent_id: str | None = None,
    type: str | None = None,
) -> None:
    """Send events above `after` (or `last_event_id`), or from now on, until the client leaves.

    `intent_id` and `type` (names of events, by commas) choose among them.
    """
    hub: Hub = socket.app.state.hub
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
