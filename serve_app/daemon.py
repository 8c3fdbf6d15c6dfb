"""The platform's own process: starts everything in order, mends what ends, stops it all.

`sep up` starts it in the background; `sep up --foreground` runs it where it is. It holds the
embedded services and Ray; when it goes, they go. What it has to remember is in the journal.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from pydantic import SecretStr

from sep_ray.bootstrap.chain import signers
from sep_ray.devnet.folders import private_folder, replace_file
from sep_ray.devnet.processes import free_port
from sep_ray.kernel.errors import Rejected, SepError
from sep_ray.logs import configure
from sep_ray.settings import Settings, addresses
from serve_app.ray_environment import NAMESPACE, own_port, ray_environment
from serve_app.stack import Stack

log = structlog.get_logger()

WATCH_S: Final = 0.2
READY_S: Final = 120.0
USUAL_PORT: Final = 8700
SHELLS: Final = (
    "serve_app.app",
    "actors.supervisor",
    "actors.executor",
    "actors.router",
    "actors.settlement",
)


class Platform:
    """Everything one embedded platform consists of; use from one thread."""

    def __init__(self, settings: Settings, own_signals: Callable[[], None]) -> None:
        self._settings = settings
        self._own_signals = own_signals
        self._state = settings.state_dir
        self._folder = private_folder(self._state / "platform")
        self._stack = Stack(settings)
        self._started = time.time()

    def start(self) -> None:
        """Bring the platform up; raises SepError when a part does not come."""
        self._clear()
        os.environ.update(ray_environment(self._state))  # Ray reads it while it is imported
        imports = threading.Thread(target=_import_shells, name="imports", daemon=True)
        imports.start()
        os.environ.update(self._stack.start(self.report))
        imports.join()
        self.report("migrating the database")
        self._migrate()
        self._start_ray()
        self._await_health()
        self._write_endpoints()
        self.report("ready")

    def watch(self, stop: threading.Event) -> None:
        """Mend embedded services until told to stop."""
        while not stop.wait(WATCH_S):
            try:
                self._stack.mend()
            except SepError as error:
                log.warning("service_not_restarted", error=str(error))

    def stop(self) -> None:
        """Stop everything, the outermost first."""
        (self._state / "endpoints.json").unlink(missing_ok=True)
        self.report("stopping Ray")
        self._stop_ray()
        self._stack.stop(self.report)
        self.report("stopped")

    def report(self, text: str) -> None:
        """Say what is going on, for whoever waits."""
        elapsed = round(time.time() - self._started, 1)
        replace_file(self._folder / "progress.json", json.dumps({"at": elapsed, "text": text}))
        log.info("platform_progress", step=text, seconds=elapsed)

    def _clear(self) -> None:
        """Forget what an earlier run left: its endpoints, its cluster's address, its gauges."""
        (self._state / "endpoints.json").unlink(missing_ok=True)
        for file in private_folder(self._state / "metrics").glob("*.db"):
            file.unlink()
        (self._state / "ray" / "ray" / "ray_current_cluster").unlink(missing_ok=True)

    def _migrate(self) -> None:
        import asyncio

        from sep_ray.adapters.postgres import migrate

        asyncio.run(migrate(os.environ["SEP_POSTGRES_URL"]))

    def _start_ray(self) -> None:
        os.environ["SEP_STATE_DIR"] = str(self._state)
        port = chosen_port(self._settings)
        os.environ["SEP_HTTP_PORT"] = str(port)
        self.report("starting Ray")
        import ray

        ray.init(
            address="local",
            namespace=NAMESPACE,
            num_cpus=self._settings.ray_cpus,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=200_000_000,
            runtime_env={"worker_process_setup_hook": "serve_app.worker_setup.set_up"},
        )
        self._own_signals()  # Ray has put its own handlers in place, which would end us at once
        from actors.supervisor import start_actors
        from serve_app.app import deploy, start_serve

        settings = Settings()
        self.report("starting Ray Serve")
        start_serve(settings)
        self.report("starting actors, models and API")
        start_actors()
        deploy(settings)

    def _stop_ray(self) -> None:
        import ray
        from ray import serve

        from actors.supervisor import stop_actors

        if ray.is_initialized():
            stop_actors()
            serve.shutdown()  # type: ignore[no-untyped-call]  # Ray leaves it unannotated
            ray.shutdown()

    def _await_health(self) -> None:
        import httpx

        self.report("waiting for every service to be healthy")
        deadline = time.monotonic() + READY_S
        health: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                answer = httpx.get(f"{self._url()}/health", timeout=5.0)
                health = answer.json()
                if answer.status_code == 200:
                    return
            except (httpx.HTTPError, ValueError) as error:
                health = {"error": repr(error)}
            time.sleep(0.2)
        raise SepError("the platform did not become healthy", health=json.dumps(health)[:2_000])

    def _url(self) -> str:
        return f"http://127.0.0.1:{os.environ['SEP_HTTP_PORT']}"

    def _write_endpoints(self) -> None:
        accounts = [each.address for each in signers(Settings())]
        endpoints = {
            "api": self._url(),
            "stream": f"{self._url().replace('http', 'ws', 1)}/v1/stream",
            "metrics": f"{self._url()}/metrics",
            "chains": {
                "1": _first_of("SEP_ETHEREUM_RPC_URL"),
                "42161": _first_of("SEP_ARBITRUM_RPC_URL"),
            },
            "account": accounts[0],
            "accounts": accounts,
            "pid": os.getpid(),
            "start_seconds": round(time.time() - self._started, 1),
        }
        replace_file(self._state / "endpoints.json", json.dumps(endpoints, indent=1))


def chosen_port(settings: Settings) -> int:
    """Return the port asked for; without a wish the usual one, or a free one if that is taken.

    A free one comes from this state folder's own range: others would not be free any more by the
    time the balancer listens. Raises Rejected when the port asked for is taken.
    """
    port = free_port(settings.http_port or USUAL_PORT)
    if settings.http_port == 0 or (settings.http_port is None and port != USUAL_PORT):
        return free_port(own_port(settings.state_dir))
    if settings.http_port and port != settings.http_port:
        raise Rejected("the port is taken", setting="SEP_HTTP_PORT", port=settings.http_port)
    return port


def _first_of(name: str) -> str:
    """Return the first of the addresses in a variable."""
    return addresses(SecretStr(os.environ[name]))[0]


def _import_shells() -> None:
    """Load what runs on Ray while databases and chains start; what is missing fails where it is
    imported again."""
    for module in SHELLS:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def main() -> int:
    """Run the platform until SIGTERM or SIGINT; 0 after a clean stop."""
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    stop = threading.Event()

    def own_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())

    own_signals()
    platform = Platform(settings, own_signals)
    code = 0
    try:
        platform.start()
        platform.watch(stop)
    except SepError as error:
        platform.report(f"failed: {error}")
        log.critical("platform_failed", error=str(error))
        code = 1
    finally:
        platform.stop()
    return code


if __name__ == "__main__":
    sys.exit(main())
