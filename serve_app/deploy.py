"""Bring the platform onto a Ray cluster that runs already, or to this version, and leave it there.

    python -m serve_app.deploy

Run it in the cluster, as a Ray job: Ray names the cluster in RAY_ADDRESS, and every node's
environment holds the same SEP_* settings. Databases and chains are somebody else's, by URL.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import structlog

from sep_ray.kernel.errors import Rejected, SepError
from sep_ray.logs import configure
from sep_ray.settings import Settings
from serve_app.ray_environment import NAMESPACE

log = structlog.get_logger()

NEEDED: Final = ("postgres_url", "ethereum_rpc_url", "arbitrum_rpc_url", "jwt_secret", "http_port")
"""Settings that have a value of their own on one machine and none on many."""
KEYS: Final = ("signer_keys", "keystore_file", "kms_keys")


def require(settings: Settings) -> None:
    """Raise Rejected naming the first setting that a cluster cannot do without."""
    for name in NEEDED:
        if getattr(settings, name) is None:
            raise Rejected("a cluster needs this setting", setting=f"SEP_{name.upper()}")
    if all(getattr(settings, name) is None for name in KEYS):
        raise Rejected("a cluster needs a signer", settings=[f"SEP_{n.upper()}" for n in KEYS])


def bring_up(settings: Settings) -> None:
    """Migrate, make the actors, deploy models and API; returns when they answer."""
    import ray

    from actors.supervisor import start_actors
    from sep_ray.adapters.postgres import migrate
    from serve_app.app import deploy, start_serve

    require(settings)
    assert settings.postgres_url is not None
    asyncio.run(migrate(settings.postgres_url.get_secret_value()))
    hook = {"worker_process_setup_hook": "actors.preload.preload"}
    ray.init(namespace=NAMESPACE, log_to_driver=False, runtime_env=hook)
    start_serve(settings)
    start_actors()
    deploy(settings)
    log.info("platform_deployed", port=settings.http_port)


def main() -> int:
    """Return 0 once the platform is there, 1 with a reason otherwise."""
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    try:
        bring_up(settings)
    except SepError as error:
        log.critical("platform_not_deployed", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
