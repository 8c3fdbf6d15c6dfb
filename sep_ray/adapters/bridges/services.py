"""What adapters ask of bridges' own services over HTTP. Advice, never evidence about money."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp

from sep_ray.kernel.errors import Rejected, Transient

TIMEOUT_S: Final = 10.0
NOT_KNOWN: Final = 404


class Service(Protocol):
    """A JSON service. Transient where it cannot be asked, Rejected where it says no."""

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Return what it knows under a path, None if it knows nothing of it (404)."""

    async def post(self, path: str) -> Any:
        """Ask it to do something."""


class HttpService:
    """A service at a URL. Use it on one event loop; `close` it there."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url.rstrip("/")
        self._host = urlsplit(url).netloc.rpartition("@")[2]
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Drop the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        return await self._ask("GET", path, params)

    async def post(self, path: str) -> Any:
        return await self._ask("POST", path, None)

    async def _ask(self, method: str, path: str, params: Mapping[str, str] | None) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.request(method, self._url + path, params=params) as reply:
                return self._read(reply.status, await reply.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = type(error).__name__
            raise Transient("service cannot be asked", service=self._host, why=why) from None

    def _read(self, status: int, text: bytes) -> Any:
        if status == NOT_KNOWN:
            return None
        facts = {
            "service": self._host,
            "status": status,
            "text": text[:200].decode("utf-8", "replace"),
        }
        if 400 <= status < 500 and status != 429:
            raise Rejected("service refuses", **facts)
        try:
            if status >= 400:
                raise ValueError("no answer")
            return json.loads(text)
        except ValueError:
            raise Transient("service does not answer", **facts) from None
