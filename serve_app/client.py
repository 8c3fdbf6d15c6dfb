"""The platform's HTTP interface from Python: plain dictionaries in and out, problems as errors.

with Client("http://127.0.0.1:8700", token) as client:
    made = client.submit({"type": "LIQUIDATE", "chain_id": 1, "sell": "WBTC", "buy": "USDC"})
    print(client.get(made["href"])["state"])
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

import httpx

from sep_ray.kernel.errors import Indeterminate, Rejected, Transient

TIMEOUT_S: Final = 30.0
RESUMABLE: Final = frozenset({1006, 1012, 1013})
"""Codes of a closed stream after which one goes on where it stopped."""
AWAY_S: Final = 60.0
"""How long a stream that was open may be away, while the service starts anew."""
PAUSE_S: Final = 0.5


class ApiProblem(Rejected):
    """The platform refused; facts: status, code, field, allowed, problem (the whole answer)."""

    def __str__(self) -> str:
        allowed = self.facts.get("allowed")
        return f"{self.message} ({allowed})" if allowed else self.message


class Client:
    """Talks to one platform with one token. Not for use by several threads."""

    def __init__(self, url: str, token: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = _checked(url).rstrip("/")
        self._token = _visible("the token", token)
        self._http = httpx.Client(
            base_url=self._url,
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def submit(self, intent: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Submit an intent; with a key it is done once however often this is repeated."""
        return self.post("/v1/intents", intent, key)

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Return an answer; parameters that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._ask(
            "GET", f"{path}?{urlencode(given, errors='surrogateescape')}" if given else path
        )

    def post(self, path: str, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Send a body and return the answer."""
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = _visible("the idempotency key", key)
        return self._ask("POST", path, json.dumps(body).encode(), headers)

    def delete(self, path: str) -> dict[str, Any]:
        """Delete (that is: cancel) and return the answer."""
        return self._ask("DELETE", path)

    def health(self) -> dict[str, Any]:
        """Return how every service is, also when that is not well."""
        answer = self._send("GET", "/health")
        health: dict[str, Any] = answer.json()
        return health

    def events(self, after: int | None = None, **query: object) -> Iterator[dict[str, Any]]:
        """Yield events as they happen, without gaps, over restarts of the service.

        Raises Transient when it was away for AWAY_S or there is no event yet to go on from,
        Rejected when the stream is refused or the token ends.
        """
        given = {name: value for name, value in query.items() if value is not None}
        heard = time.monotonic()
        while True:
            try:
                for event in self._stream(given | ({} if after is None else {"after": after})):
                    heard = time.monotonic()
                    after = max(after or 0, int(event["seq"]))
                    if event["type"] != "heartbeat":
                        yield event
            except Transient:
                if after is None or time.monotonic() - heard > AWAY_S:
                    raise
                time.sleep(PAUSE_S)

    def _stream(self, asked: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Yield one connection's events and heartbeats; its end is raised."""
        from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
        from websockets.sync.client import connect

        headers = {"Authorization": f"Bearer {self._token}"}
        address = f"{self._url.replace('http', 'ws', 1)}/v1/stream?{urlencode(asked)}"
        try:
            with connect(address, additional_headers=headers, proxy=None) as socket:
                while True:
                    yield json.loads(socket.recv())
        except ConnectionClosed as closed:
            code, why = 1006, "the connection broke"
            if closed.rcvd:
                code, why = closed.rcvd.code, closed.rcvd.reason
            kind = Transient if code in RESUMABLE else Rejected
            raise kind(f"the stream ended: {why}") from None
        except InvalidStatus as refused:
            status, body = refused.response.status_code, bytes(refused.response.body or b"")
            if status >= 500:
                raise Transient(f"no stream from {self._url}: HTTP {status}") from None
            raise _problem(status, body) from None
        except (WebSocketException, OSError) as error:
            raise Transient(f"no stream from {self._url}: {error}") from None

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        answer = self._send(method, path, body, headers)
        if answer.is_success:
            found: dict[str, Any] = answer.json()
            return found
        raise _problem(answer.status_code, answer.content)

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, content=body, headers=headers)
        except httpx.ConnectError:
            raise Transient(f"nobody answers at {self._url}; is the platform up?") from None
        except httpx.TransportError as error:
            why = f"no whole answer from {self._url}: {type(error).__name__}"
            raise Indeterminate(f"{why}; it may have been done") from None


def _checked(url: str) -> str:
    """Return an address that can be asked, or raise Rejected."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or not url.isprintable():
        raise Rejected(f"{url[:80]!r} is not an address such as http://127.0.0.1:8700")
    return url


def _visible(what: str, text: str) -> str:
    """Return what goes into a header, or raise Rejected."""
    if not text or not all("!" <= letter <= "~" for letter in text):
        raise Rejected(f"{what} takes visible ASCII characters only, at least one")
    return text


def _problem(status: int, body: bytes) -> ApiProblem:
    try:
        facts = json.loads(body)
        detail = str(facts["detail"])
    except (ValueError, KeyError, TypeError):
        said = body.decode(errors="replace")[:200]
        facts, detail = {}, f"HTTP {status}: {said}"
    return ApiProblem(
        detail,
        status=status,
        code=facts.get("code", "unknown"),
        field=facts.get("field"),
        allowed=facts.get("allowed"),
        problem=facts,
    )
