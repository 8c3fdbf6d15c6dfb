"""The node behind the proxy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import aiohttp

TIMEOUT_S: Final = 60.0

Json = dict[str, Any]


class Gone(Exception):
    """The node behind the proxy did not answer."""


class Refused(Exception):
    """The node answered with this JSON-RPC error."""

    def __init__(self, error: Json) -> None:
        super().__init__(str(error))
        self.error = error


class Upstream:
    """Calls to the node; `http` is its address, `ws` what its subscriptions are had from."""

    def __init__(self, http: str) -> None:
        self.http = http
        self.ws = http.replace("http", "ws", 1)
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections to the node."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self._session

    async def close(self) -> None:
        """Drop the connections."""
        if self._session is not None:
            await self._session.close()

    async def forward(self, calls: Sequence[Json]) -> list[Json]:
        """Return the node's replies in the order of the calls, under the calls' own ids."""
        if not calls:
            return []
        numbered = [{**call, "id": n} for n, call in enumerate(calls)]
        answer = await self._post(numbered if len(numbered) > 1 else numbered[0])
        by_id = {each["id"]: each for each in (answer if len(numbered) > 1 else [answer])}
        return [{**by_id[n], "id": call.get("id")} for n, call in enumerate(calls)]

    async def ask(self, method: str, *params: Any) -> Any:
        """Return one result; raises Refused or Gone."""
        (reply,) = await self.forward([{"jsonrpc": "2.0", "method": method, "params": params}])
        if "error" in reply:
            raise Refused(reply["error"])
        return reply["result"]

    async def _post(self, body: Any) -> Any:
        try:
            async with self.session.post(self.http, json=body) as response:
                return json.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Gone(type(error).__name__) from None
