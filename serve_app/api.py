"""The HTTP and WebSocket interface: which path does what, and how everything is refused.

The two submitting routes are bare ASGI and are reached before the framework's own machinery;
all others are ordinary routes. Both kinds stand in one table of routes, which the OpenAPI
document and the roles are checked against.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from sep_ray import __version__
from serve_app import (
    answers,
    intents,
    lane_models,
    lanes,
    money,
    risk,
    risk_models,
    system,
    transfer_answers,
    transfers,
)
from serve_app.docs import page
from serve_app.following import Following
from serve_app.health import Health
from serve_app.live import live_events
from serve_app.openapi import body, describe
from serve_app.parts import Parts
from serve_app.plan_answers import PlanAnswer
from serve_app.problems import Problem, Wrong
from serve_app.ranges import path
from serve_app.respond import problem_response, refuse_socket, send_problem
from serve_app.risk_models import HaltBody, LimitBody
from serve_app.schemas import AllocationBody, BatchBody, IntentBody, ReleaseBody, StrategyBody
from serve_app.stream import Hub
from serve_app.submit import Noop, Submit, SubmitBatch

OpenParts = Callable[[], AbstractAsyncContextManager[Parts]]


@dataclass(frozen=True, slots=True)
class Operation:
    """An ordinary route."""

    method: str
    path: str
    endpoint: Callable[..., Any]
    answer: type[BaseModel]
    status: int = 200
    body: type[BaseModel] | None = None
    keyed: bool = False


OPERATIONS: Final = (
    Operation("GET", "/v1/intents", intents.list_intents, answers.PageAnswer),
    Operation("GET", "/v1/intents/summary", intents.summary, answers.SummaryAnswer),
    Operation("GET", "/v1/intents/{intent_id}", intents.show_intent, answers.IntentAnswer),
    Operation(
        "DELETE", "/v1/intents/{intent_id}", intents.cancel_intent, answers.CancelAnswer, 202
    ),
    Operation("GET", "/v1/intents/{intent_id}/why", intents.why_intent, answers.WhyAnswer),
    Operation("GET", "/v1/why/{reference}", intents.why, answers.WhyAnswer),
    Operation("POST", "/v1/plans", money.plan, PlanAnswer, body=IntentBody),
    Operation("GET", "/v1/portfolio", money.portfolio, answers.PortfolioAnswer),
    Operation(
        "POST",
        "/v1/portfolio/allocations",
        money.allocate,
        answers.AllocationAnswer,
        201,
        AllocationBody,
        keyed=True,
    ),
    Operation("GET", "/v1/transfers", transfers.list_transfers, transfer_answers.TransfersAnswer),
    Operation(
        "GET",
        "/v1/transfers/{transfer_id}",
        transfers.show_transfer,
        transfer_answers.TransferAnswer,
    ),
    Operation(
        "POST",
        "/v1/transfers/{transfer_id}/release",
        transfers.release_transfer,
        transfer_answers.TransferAnswer,
        body=ReleaseBody,
    ),
    Operation("GET", "/v1/strategies", system.list_strategies, answers.StrategiesAnswer),
    Operation("GET", "/v1/strategies/{strategy_id}", system.show_strategy, answers.StrategyAnswer),
    Operation(
        "POST", "/v1/strategies", system.start_strategy, answers.StrategyAnswer, 201, StrategyBody
    ),
    Operation(
        "POST", "/v1/strategies/{strategy_id}/pause", system.pause_strategy, answers.StrategyAnswer
    ),
    Operation(
        "POST",
        "/v1/strategies/{strategy_id}/resume",
        system.resume_strategy,
        answers.StrategyAnswer,
    ),
    Operation(
        "POST", "/v1/strategies/{strategy_id}/stop", system.stop_strategy, answers.StrategyAnswer
    ),
    Operation("POST", "/v1/halts", risk.halt, risk_models.HaltAnswer, 201, HaltBody, keyed=True),
    Operation("GET", "/v1/halts", risk.halts, risk_models.HaltsAnswer),
    Operation("DELETE", "/v1/halts/{halt_id}", risk.release, risk_models.HaltAnswer),
    Operation("GET", "/v1/limits", risk.limits, risk_models.LimitsAnswer),
    Operation("POST", "/v1/limits", risk.set_limit, risk_models.LimitAnswer, 201, LimitBody),
    Operation("DELETE", "/v1/limits/{limit_id}", risk.remove_limit, risk_models.LimitAnswer),
    Operation("GET", "/v1/lanes", lanes.list_lanes, lane_models.LanesAnswer),
    Operation(
        "POST",
        "/v1/lanes/{chain_id}/{account}/resume",
        lanes.resume,
        lane_models.ResumeAnswer,
        body=lane_models.ResumeBody,
    ),
    Operation("GET", "/v1/attempts", lanes.list_attempts, lane_models.AttemptsAnswer),
    Operation(
        "GET", "/v1/attempts/{attempt_id}", lanes.show_attempt, lane_models.AttemptStoryAnswer
    ),
    Operation(
        "POST",
        "/v1/attempts/{attempt_id}/resolve",
        lanes.resolve,
        lane_models.AttemptAnswer,
        body=lane_models.ResolveBody,
    ),
    Operation("GET", "/v1/assets", system.assets, answers.AssetsAnswer),
    Operation("GET", "/v1/whoami", system.whoami, answers.WhoAnswer),
    Operation("GET", "/health", system.health, answers.HealthAnswer),
)
ALIASES: Final = ("/v1/intents", "/v1/intents/{intent_id}")
"""Also reached without the version, undocumented."""
PARAMETERS: Final = {
    "after": "the seq of an event, 0 or more",
    "bridge": "at most 64 characters",
    "chain_id": "the number of a chain",
    "check": "true, false",
    "cursor": "`next` of the page before",
    "last_event_id": "the seq of an event, 0 or more",
    "limit": f"1..{intents.MAX_PAGE}",
    "released": "true, false",
    "strategy_id": "at most 64 characters",
    "why": "at most 120 characters",
}
"""What a query's parameters take, but for those that say it themselves: a choice of words."""


MOST_REQUESTS: Final = 1_500
"""Requests a replica works on at once; beyond it says so itself, before Serve's own bound does."""
ALWAYS_ANSWERED: Final = frozenset({"/health", "/metrics"})


class Api(FastAPI):
    """FastAPI, with paths that are answered before its routing, and a bound (P12)."""

    hot: Mapping[tuple[str, str], ASGIApp] = {}
    requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a connection; a request too many gets a 429 Problem and changes nothing."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        if self.requests >= MOST_REQUESTS and scope["path"] not in ALWAYS_ANSWERED:
            busy = Problem("busy", "try again in 1 s", headers={"Retry-After": "1"})
            await send_problem(send, busy, scope["path"])
            return
        self.requests += 1
        try:
            hot = self.hot.get((scope["method"], scope["path"]))
            await (hot or super().__call__)(scope, receive, send)
        finally:
            self.requests -= 1

    def openapi(self) -> dict[str, Any]:
        """Return the interface's description."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(self, __version__)
        return self.openapi_schema


def create_app(open_parts: OpenParts, *, bench_routes: bool = False) -> Api:
    """Return the application; its parts are opened when it starts and closed when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_parts() as parts:
            app.state.parts = parts
            app.state.health = Health(parts.probes, parts.clock)
            feed = Following(parts.store, parts.board) if parts.board else parts.store
            app.state.hub = Hub(feed, parts.book)
            await app.state.hub.start()
            try:
                yield
            finally:
                await app.state.hub.close()
                await parts.hints.close()

    app = Api(
        title="Strategy Execution Platform",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    _add_submitting(app, bench_routes)
    for operation in OPERATIONS:
        _add(app, operation)
    _add_plain(app)
    if bench_routes:
        app.router.add_api_route(
            "/v1/bench/route", _nothing, methods=["POST"], status_code=202, include_in_schema=False
        )
    _add_refusals(app)
    return app


def _add_submitting(app: Api, bench_routes: bool) -> None:
    def parts() -> Parts:
        found: Parts = app.state.parts
        return found

    submit, batch = Submit(parts), SubmitBatch(parts)
    app.hot = {
        ("POST", "/v1/intents"): submit,
        ("POST", "/v1/intents/batch"): batch,
        ("POST", "/intents"): submit,
    }
    if bench_routes:
        app.hot |= {("POST", "/v1/bench/noop"): Noop(parts)}
    _describe(app, "/v1/intents", submit, IntentBody, answers.SubmittedAnswer)
    _describe(app, "/v1/intents/batch", batch, BatchBody, answers.BatchAnswer)


def _describe(
    app: Api,
    where: str,
    served: Submit | SubmitBatch,
    taken: type[BaseModel],
    answer: type[BaseModel],
) -> None:
    """Put a bare application into the table of routes, described like all others."""
    route = APIRoute(
        where,
        _described_only,
        methods=["POST"],
        status_code=202,
        name=type(served).__name__,
        summary=type(served).__doc__,
        description=served.__call__.__doc__ or "",
        responses={202: {"model": answer, "description": "Durable"}},
        openapi_extra=body(taken, keyed=True),
    )
    route.app = served
    app.router.routes.append(route)


async def _nothing(body: IntentBody) -> answers.SubmittedAnswer:
    """An ordinary route that takes and gives what a submission does, and does nothing."""
    name = str(UUID(int=0))
    return answers.SubmittedAnswer(verdict="accepted", id=name, href=f"/v1/intents/{name}")


async def _described_only() -> Response:
    """Stand for a bare application in the table of routes; never called."""
    raise NotImplementedError


def _add(app: Api, operation: Operation) -> None:
    paths = [operation.path]
    if operation.path in ALIASES:
        paths.append(operation.path.removeprefix("/v1"))
    for where in paths:
        app.router.add_api_route(
            where,
            operation.endpoint,
            methods=[operation.method],
            status_code=operation.status,
            responses={operation.status: {"model": operation.answer}},
            openapi_extra=body(operation.body, keyed=operation.keyed) if operation.body else None,
            include_in_schema=where == operation.path,
            response_model=None,
        )


def _add_plain(app: Api) -> None:
    async def openapi() -> Response:
        return JSONResponse(app.openapi())

    async def docs() -> Response:
        return HTMLResponse(page(app.openapi()))

    app.router.add_api_route("/metrics", system.exposition, include_in_schema=False)
    app.router.add_api_route("/openapi.json", openapi, include_in_schema=False)
    app.router.add_api_route("/docs", docs, include_in_schema=False)
    app.router.add_api_websocket_route("/v1/stream", live_events)


def _add_refusals(app: Api) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        answer = await problem_response(request, error)
        if answer.status_code == 405:
            answer.headers["allow"] = ", ".join(_methods(app, request.scope))
        return answer

    async def wrong_parameter(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await problem_response(request, _of_parameters(error))

    async def wrong_of_socket(socket: WebSocket, error: Exception) -> None:
        assert isinstance(error, WebSocketRequestValidationError)
        await refuse_socket(socket, _of_parameters(error))

    for kind in (Problem, HTTPException, Exception):
        app.add_exception_handler(kind, _either(refused, refuse_socket))
    app.add_exception_handler(RequestValidationError, wrong_parameter)
    app.add_exception_handler(WebSocketRequestValidationError, _either(refused, wrong_of_socket))


def _either(
    http: Callable[[Request, Exception], Any], websocket: Callable[[WebSocket, Exception], Any]
) -> Callable[[Any, Exception], Any]:
    async def handler(connection: Any, error: Exception) -> Any:
        serve = websocket if isinstance(connection, WebSocket) else http
        return await serve(connection, error)

    return handler


def _methods(app: Api, scope: Scope) -> list[str]:
    """Return what may be done at a path; a router alone names the first route's methods."""
    fitting = (route for route in app.router.routes if route.matches(scope)[0] is not Match.NONE)
    return sorted({method for route in fitting for method in getattr(route, "methods", ())})


def _of_parameters(error: RequestValidationError | WebSocketRequestValidationError) -> Problem:
    return Problem.of_fields([_wrong_parameter(each) for each in error.errors()])


def _wrong_parameter(found: Mapping[str, Any]) -> Wrong:
    name = path(found["loc"][1:])
    words = str(found.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
    return Wrong(name, "invalid_field", "is not acceptable", words or PARAMETERS.get(name))
