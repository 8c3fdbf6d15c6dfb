"""A small HTTP/1.1 load generator in a process of its own: `python -m bench.load < spec.json`.

It shares the machine with the server, so both sides of a ratio are driven by the same generator
and its own share of a core is measured: a generator near 1.0 would be what is measured.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to send: `requests` POSTs of one body over `connections` kept-alive connections.

    With `key_prefix` every request carries an Idempotency-Key of its own.
    """

    url: str
    token: str
    body: str
    connections: int
    requests: int
    key_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of it: latencies in ms, answers by status, the generator's share of a core."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    client_core_share: float

    @property
    def per_second(self) -> float:
        """Answers per second over the whole run."""
        return self.requests / self.seconds


def drive(spec: Spec) -> Load:
    """Run a load in another process and return what came of it.

    Raises RuntimeError when an answer was not a success.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(spec)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-500:]}")
    load = Load(**json.loads(done.stdout))
    if set(load.statuses) != {"202"}:
        raise RuntimeError(f"not all were accepted: {load.statuses}")
    return load


class Connection(asyncio.Protocol):
    """Sends one request after another and reads whole answers; `ended` when none is left."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], statuses: Any) -> None:
        self._requests = requests
        self._latencies = latencies
        self._statuses = statuses
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Count an answer when it is whole."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._latencies.append(time.perf_counter() - self._sent)
        status = head.split(b" ", 2)[1].decode()
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._buffer = b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """Say so, unless everything was sent."""
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server closed a connection"))

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)


async def run(spec: Spec) -> Load:
    """Drive the load from this process."""
    parts = urlsplit(spec.url)
    host, port = parts.hostname or "", parts.port or 80
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    requests = islice(_requests(spec), spec.requests)
    loop = asyncio.get_running_loop()
    spent, began = time.process_time(), time.perf_counter()
    connections = []
    for _ in range(spec.connections):
        _, connection = await loop.create_connection(
            lambda: Connection(requests, latencies, statuses),
            host,
            port,
        )
        connections.append(connection.ended)
    await asyncio.gather(*connections)
    seconds = time.perf_counter() - began
    latencies.sort()
    return Load(
        requests=len(latencies),
        seconds=seconds,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1e3,
        statuses=statuses,
        client_core_share=(time.process_time() - spent) / seconds,
    )


def _requests(spec: Spec) -> Iterator[bytes]:
    parts, body = urlsplit(spec.url), spec.body.encode()
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {spec.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
    ).encode()
    for number in count():
        key = f"Idempotency-Key: {spec.key_prefix}-{number}\r\n" if spec.key_prefix else ""
        yield b"%b%b\r\n%b" % (head, key.encode(), body)


def main() -> int:
    """Read a spec, run it, write the outcome."""
    spec = Spec(**json.loads(sys.stdin.read()))
    json.dump(asdict(asyncio.run(run(spec))), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
