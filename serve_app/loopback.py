"""Keeps Ray's internal gRPC servers on loopback in embedded mode.

Serve's replicas open one on every interface and offer no setting for it. This runs first in
every worker process, before the function is imported by name anywhere else.
"""

from __future__ import annotations

from typing import Any

from ray._common import tls_utils

ANYWHERE = ("[::]:", "0.0.0.0:")


def listen_on_loopback_only() -> None:
    """Make servers that ask for every interface listen on 127.0.0.1."""
    add_port = tls_utils.add_port_to_grpc_server

    def add_loopback_port(server: Any, address: str) -> int:
        for prefix in ANYWHERE:
            if address.startswith(prefix):
                address = f"127.0.0.1:{address.removeprefix(prefix)}"
        return int(add_port(server, address))  # type: ignore[no-untyped-call]  # Ray leaves it bare

    tls_utils.add_port_to_grpc_server = add_loopback_port
