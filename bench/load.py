"""A small HTTP/1.1 load generator: fixed connections, fixed number of requests, one process.

It shares the machine with the server; both sides of a ratio are driven by the same generator.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of a run: answers per second, latencies in ms, and the answers' statuses."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    statuses: dict[int, int]

    @property
    def per_second(self) -> float:
        """Answers per second over the whole run."""
        return self.requests / self.seconds


async def drive(
    url: str,
    token: str,
    bodies: Callable[[int], tuple[bytes, Sequence[str]]],
    *,
    connections: int,
    requests: int,
) -> Load:
    """POST `requests` bodies over `connections` kept-alive connections.

    `bodies(n)` gives the n-th body and its extra header lines.
    """
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    )
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    numbers = iter(range(requests))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for number in numbers:
            body, extra = bodies(number)
            lines = "".join(f"{line}\r\n" for line in extra)
            request = f"{head}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
            began = time.perf_counter()
            writer.write(request)
            status = await _answer(reader)
            latencies.append(time.perf_counter() - began)
            statuses[status] = statuses.get(status, 0) + 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    seconds = time.perf_counter() - began
    latencies.sort()
    return Load(
        requests=len(latencies),
        seconds=seconds,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1e3,
        statuses=statuses,
    )


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"content-length:" in head:
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    else:
        while (size := int((await reader.readline()).strip(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return status
