"""A small HTTP/1.1 load generator in a process of its own: `python -m bench.load < spec.json`.

It shares the machine with the server, so both sides of a ratio are driven by the same generator
and its own share of a core is measured: a generator near 1.0 would be what is measured.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 30.0


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


@dataclass(slots=True)
class Connection:
    """A kept-alive connection with at most one request under way."""

    socket: socket.socket
    sent_at: float = 0.0
    received: bytes = b""

    def send(self, request: bytes) -> None:
        """Send a whole request and note when."""
        self.sent_at, self.received = time.perf_counter(), b""
        self.socket.sendall(request)

    def read(self) -> str | None:
        """Read what has come; return the answer's status when it is whole."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed a connection")
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return head[9:12].decode() if len(rest) >= length else None


def run(spec: Spec) -> Load:
    """Drive the load from this process, with as little as an answer can cost a client."""
    parts = urlsplit(spec.url)
    requests = islice(_requests(spec), spec.requests)
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    poll, connections = select.epoll(), dict[int, Connection]()
    for _ in range(spec.connections):
        opened = socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[opened.fileno()] = Connection(opened)
        poll.register(opened, select.EPOLLIN)
    spent, began = time.process_time(), time.perf_counter()
    busy = 0
    for connection, request in zip(connections.values(), requests, strict=False):
        connection.send(request)
        busy += 1
    while busy:
        for descriptor, _ in poll.poll(TIMEOUT_S) or _silent():
            connection = connections[descriptor]
            status = connection.read()
            if status is None:
                continue
            latencies.append(time.perf_counter() - connection.sent_at)
            statuses[status] = statuses.get(status, 0) + 1
            following = next(requests, None)
            if following is None:
                busy -= 1
            else:
                connection.send(following)
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


def _silent() -> list[tuple[int, int]]:
    raise TimeoutError(f"no answer within {TIMEOUT_S:.0f} s")


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
    json.dump(asdict(run(spec)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
