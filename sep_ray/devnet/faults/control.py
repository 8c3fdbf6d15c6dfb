"""The proxy's control interface over HTTP, and a client of it for other processes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from sep_ray.devnet.faults.rules import Rule
from sep_ray.kernel.errors import Rejected, Transient

if TYPE_CHECKING:
    from sep_ray.devnet.faults.proxy import FaultProxy

_RULE = TypeAdapter(Rule)


class ControlRoutes:
    """/faults: GET shows, POST adds, DELETE clears; /faults/N; /faults/release, /cut, /strict."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy

    def routes(self) -> list[web.RouteDef]:
        """Return them."""
        return [
            web.get("/faults", self._show),
            web.post("/faults", self._add),
            web.delete("/faults", self._clear),
            web.delete(r"/faults/{number:\d+}", self._remove),
            web.post("/faults/release", self._release),
            web.post("/faults/cut", self._cut),
            web.post("/faults/strict", self._strict),
        ]

    async def _show(self, _: web.Request) -> web.Response:
        rules, waiting = self._proxy.rules, self._proxy.waiting
        return web.json_response(
            {
                "rules": {number: asdict(rule) for number, rule in rules.in_force.items()},
                "counts": dict(rules.counts),
                "injected": [asdict(each) for each in rules.injected],
                "held": list(waiting.held),
                "swallowed": waiting.swallowed,
                "sends": list(self._proxy.sends),
            }
        )

    async def _add(self, request: web.Request) -> web.Response:
        try:
            rule = _RULE.validate_json(await request.read())
        except (ValidationError, Rejected) as error:
            return web.json_response({"error": str(error)}, status=422)
        return web.json_response({"rule": self._proxy.add(rule)})

    async def _remove(self, request: web.Request) -> web.Response:
        self._proxy.rules.remove(int(request.match_info["number"]))
        return web.json_response({})

    async def _clear(self, _: web.Request) -> web.Response:
        self._proxy.rules.clear()
        return web.json_response({})

    async def _release(self, _: web.Request) -> web.Response:
        return web.json_response({"replies": await self._proxy.release()})

    async def _cut(self, _: web.Request) -> web.Response:
        self._proxy.cut()
        return web.json_response({})

    async def _strict(self, request: web.Request) -> web.Response:
        self._proxy.waiting.strict = bool(json.loads(await request.read()))
        return web.json_response({})


class FaultControl:
    """Steers a proxy in another process; every call is one request on a connection of its own."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self._address = urlsplit(url).netloc
        self._timeout_s = timeout_s

    def add(self, **rule: Any) -> int:
        """Put a rule in force: `add(fault="drop", methods=["eth_call"], count=3)`; its number."""
        return int(self._ask("POST", "/faults", rule)["rule"])

    def remove(self, number: int) -> None:
        """Take a rule away."""
        self._ask("DELETE", f"/faults/{number}")

    def clear(self) -> None:
        """Take all rules away."""
        self._ask("DELETE", "/faults")

    def release(self) -> Sequence[Any]:
        """Forward the held raw transactions; what the node said to each."""
        replies: list[Any] = self._ask("POST", "/faults/release")["replies"]
        return replies

    def cut(self) -> None:
        """End all open connections."""
        self._ask("POST", "/faults/cut")

    def strict(self, on: bool) -> None:
        """Switch geth's replacement rule on or off."""
        self._ask("POST", "/faults/strict", on)

    def show(self) -> Mapping[str, Any]:
        """Return rules, counts by fault, injected faults, held and swallowed hashes."""
        return self._ask("GET", "/faults")

    def _ask(self, verb: str, path: str, body: Any = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout_s)
        try:
            connection.request(verb, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Transient("the fault proxy does not answer", why=repr(error)) from None
        finally:
            connection.close()
        if status != 200:
            raise Rejected("the fault proxy refuses", status=status, why=answer.get("error"))
        found: dict[str, Any] = answer
        return found
