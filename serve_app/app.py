"""The API and the models as Ray Serve applications.

Replicas read their settings from their own environment, so that no secret travels through the
cluster. Everything asks for no CPU: the machine's cores are not slots to be reserved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig, HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig
from redis.asyncio import Redis

from actors.market import ActorMarket
from actors.served_model import MODELS_APP
from sep_ray.adapters.evm.addresses import TOKENS
from sep_ray.adapters.evm.chain import EvmChain
from sep_ray.adapters.evm.endpoints import reach
from sep_ray.bootstrap.board import open_board
from sep_ray.bootstrap.bridges import bridges_of, crossings_of
from sep_ray.bootstrap.chain import CHAINS, NUMERAIRES, profile
from sep_ray.bootstrap.store import open_store
from sep_ray.engine.facts import FactSource
from sep_ray.kernel.clock import Clock, SystemClock
from sep_ray.kernel.ids import SystemIds
from sep_ray.kernel.units import ChainId
from sep_ray.logs import configure
from sep_ray.settings import Settings
from serve_app.api import Api, create_app
from serve_app.assets import AssetBook
from serve_app.auth import Tokens, token_secret
from serve_app.balances import ChainBalances
from serve_app.dry_run import DryRun
from serve_app.health import Probe
from serve_app.hints import Hints
from serve_app.limits import Limiter, RedisWindow
from serve_app.links import Links
from serve_app.models import SERVED
from serve_app.paging import Cursors
from serve_app.parts import Parts

API_APP: Final = "api"
SHUTDOWN_S: Final = 3.0
HEALTH_S: Final = 1.0
"""A dead replica is noticed when its health is asked for next."""
MODEL_S: Final = 2.0
REDIS_TIMEOUT_S: Final = 0.25
QUIET: Final = LoggingConfig(enable_access_log=False, log_level="WARNING")
SHARED: Final[dict[str, Any]] = {
    "ray_actor_options": {"num_cpus": 0},
    "graceful_shutdown_timeout_s": SHUTDOWN_S,
    "health_check_period_s": HEALTH_S,
    "logging_config": QUIET,
}


def start_serve(settings: Settings) -> None:
    """Start Serve itself and its balancer."""
    http = HTTPOptions(host=settings.http_host, port=settings.http_port)
    serve.start(ProxyLocation.HeadOnly, http, logging_config=QUIET)


def deploy(settings: Settings) -> None:
    """Bring both applications up, or to this version; returns when they answer."""
    models = serve.RunTarget(build_models(settings), name=MODELS_APP, route_prefix=None)
    api = serve.RunTarget(build_api(settings), name=API_APP, route_prefix="/")
    serve.run_many([models, api])


def build_api(settings: Settings) -> Application:
    """Return the HTTP interface; at its bound of queued requests it answers 429."""

    def app() -> Api:
        return replica_app()

    deployment = serve.deployment(
        name=API_APP,
        num_replicas=settings.api_replicas,
        max_ongoing_requests=2_000,
        max_queued_requests=4_000,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        **SHARED,
    )(serve.ingress(app)())
    return deployment.bind()


def build_models(settings: Settings) -> Application:
    """Return the models' deployments, named like the models."""
    deployed = [
        serve.deployment(
            name=scorer.name,
            num_replicas=settings.model_replicas,
            max_ongoing_requests=100,
            max_queued_requests=1_000,
            **SHARED,
        )(scorer)
        for scorer in SERVED
    ]
    first, *others = deployed
    return first.bind(*(other.bind() for other in others))


def replica_app() -> Api:
    """Return the application as it runs in a replica."""
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    return create_app(partial(open_parts, settings), bench_routes=settings.bench_routes)


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Connect a replica to the database, Redis, the chains and the actors."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings, clock))
        redis = _redis(settings)
        if redis is not None:
            stack.push_async_callback(redis.aclose)
        board = None
        if settings.redis_url is not None:
            board = await stack.enter_async_context(open_board(settings.redis_url))
        chains = {chain_id: await _chain(settings, chain_id, stack) for chain_id in CHAINS}
        configured = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
        secret = token_secret(configured, settings.state_dir)
        book = AssetBook(TOKENS.values(), CHAINS)
        links = Links(CHAINS, clock)
        bridges = await stack.enter_async_context(bridges_of(settings))
        facts = FactSource(
            *(store, store, ActorMarket(clock), NUMERAIRES),
            underway=store,
            crossings=crossings_of(settings, bridges),
        )
        probes = {
            "postgres": Probe(ask=partial(_postgres, store)),
            "redis": Probe(ask=partial(_ping, redis), needed=False),
            **{
                f"chain/{chain_id}": Probe(ask=partial(_newest_block, chain, clock))
                for chain_id, chain in chains.items()
            },
            **_actor_probes(links, settings),
            "publisher": Probe(ask=partial(links.publisher_health, store.newest), needed=False),
            **_model_probes(),
        }
        yield Parts(
            store=store,
            book=book,
            clock=clock,
            ids=SystemIds(clock),
            tokens=Tokens(secret, clock),
            cursors=Cursors(secret),
            limiter=Limiter(RedisWindow(redis) if redis else None, settings.submissions_per_minute),
            hints=Hints(links.hint),
            submissions_per_minute=settings.submissions_per_minute,
            max_body_bytes=settings.max_body_bytes,
            probes=probes,
            planner=DryRun(facts, links.quote, links.weigh, book, clock),
            lanes=links.lanes,
            balances=ChainBalances(store, chains, links.accounts, tuple(TOKENS)),
            line=links,
            nudge=links.nudge,
            board=board,
        )


def _redis(settings: Settings) -> Redis | None:
    if settings.redis_url is None:
        return None
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
    )


async def _chain(settings: Settings, chain_id: ChainId, stack: AsyncExitStack) -> EvmChain:
    chain = profile(settings, chain_id)
    opened = reach(chain.access, chain.block_seconds, timeout_s=2.0, connections=2)
    way = await stack.enter_async_context(opened)
    return EvmChain(way.node, way.feed)


def _actor_probes(links: Links, settings: Settings) -> dict[str, Probe]:
    probes = {
        "supervisor": Probe(ask=links.supervisor_health),
        "router": Probe(ask=links.router_health),
    }
    for chain_id in CHAINS:
        block_seconds = profile(settings, chain_id).block_seconds
        ask = partial(links.executor_health, chain_id, block_seconds)
        probes[f"executor/{chain_id}"] = Probe(ask=ask)
        told = partial(links.endpoint_health, chain_id)
        probes[f"endpoints/{chain_id}"] = Probe(ask=told, needed=False)
    return probes


def _model_probes() -> dict[str, Probe]:
    """Models are not needed: their formulas stand in."""
    return {
        f"model/{scorer.name}": Probe(ask=partial(_model, scorer.name), needed=False)
        for scorer in SERVED
    }


async def _model(name: str) -> str:
    handle = serve.get_deployment_handle(name, MODELS_APP)
    async with asyncio.timeout(MODEL_S):
        about = await handle.about.remote()
    return str(about["version"])


async def _postgres(store: Any) -> str:
    return f"{await store.newest()} events"


async def _ping(redis: Redis | None) -> str:
    if redis is None:
        raise LookupError("no Redis is configured")
    await redis.ping()
    return ""


async def _newest_block(chain: EvmChain, clock: Clock) -> str:
    head = await chain.head()
    age_s = max(0.0, clock.now() / 1_000 - head.timestamp)
    return f"block {head.number}, {age_s:.0f} s old"
