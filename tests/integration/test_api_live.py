"""Over real sockets: the stream as clients meet it, and the Python client."""

import asyncio
import json
import queue

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from sep_ray.adapters.memory import MemoryStore
from sep_ray.kernel.clock import ManualClock
from sep_ray.kernel.errors import Rejected, Transient
from serve_app.auth import Role
from serve_app.client import ApiProblem, Client
from tests.fixtures.api import ACQUIRE, NOW, bench, listening


async def submit(api, count):
    body = {"intents": [ACQUIRE] * count}
    answer = await api.client.post("/v1/intents/batch", json=body, headers=api.auth())
    assert answer.status_code == 202


def stream(url, query=""):
    return f"{url.replace('http', 'ws', 1)}/v1/stream{query}"


async def received(socket, count):
    async with asyncio.timeout(5):
        return [json.loads(await socket.recv()) for _ in range(count)]


@pytest.mark.parametrize("name", ["after", "last_event_id"])
async def test_a_client_resumes_where_it_left_off(name):
    async with bench() as api, listening(api.app) as url:
        await submit(api, 3)
        viewer = api.auth(Role.VIEWER)
        async with connect(stream(url, f"?{name}=0"), additional_headers=viewer) as socket:
            first = await received(socket, 2)
        assert [event["seq"] for event in first] == [1, 2]
        assert first[0]["type"] == "IntentAccepted"
        assert "durable" in first[0]["words"]
        where = stream(url, f"?{name}={first[-1]['seq']}")
        async with connect(where, additional_headers=viewer) as socket:
            await submit(api, 1)
            assert [event["seq"] for event in await received(socket, 2)] == [3, 4]


async def test_a_client_without_a_place_sees_what_comes():
    async with bench() as api, listening(api.app) as url:
        await submit(api, 3)
        async with connect(stream(url), additional_headers=api.auth(Role.VIEWER)) as socket:
            await submit(api, 1)
            assert [event["seq"] for event in await received(socket, 1)] == [4]


async def test_a_browser_brings_its_token_as_a_subprotocol():
    async with bench() as api, listening(api.app) as url:
        token = api.tokens.mint("v", Role.VIEWER, 60)
        offered = [Subprotocol("sep.v1"), Subprotocol(f"bearer.{token}")]
        async with connect(stream(url, "?after=0"), subprotocols=offered) as socket:
            assert socket.subprotocol == "sep.v1"
            await submit(api, 1)
            assert [event["seq"] for event in await received(socket, 1)] == [1]


@pytest.mark.parametrize("role", list(Role))
async def test_every_role_may_watch(role):
    async with (
        bench() as api,
        listening(api.app) as url,
        connect(stream(url, "?after=0"), additional_headers=api.auth(role)) as socket,
    ):
        await submit(api, 1)
        assert len(await received(socket, 1)) == 1


@pytest.mark.parametrize(
    ("headers", "query", "code"),
    [
        ({}, "", "unauthenticated"),
        ({"Authorization": "Bearer nonsense"}, "", "token_invalid"),
        ({"Authorization": "Basic YTpi"}, "", "unauthenticated"),
        (None, "?after=x", "invalid_field"),
        (None, "?after=-1", "invalid_field"),
        (None, "?intent_id=x", "not_found"),
        (None, "?type=IntentComplete", "invalid_field"),
        (None, "?since=1", "invalid_field"),
    ],
)
async def test_what_is_no_good_request_for_a_stream_is_refused(headers, query, code):
    async with bench() as api, listening(api.app) as url:
        sent = api.auth(Role.VIEWER) if headers is None else headers
        with pytest.raises(InvalidStatus) as refused:
            await connect(stream(url, query), additional_headers=sent)
        said = json.loads(refused.value.response.body)
        assert (said["code"], said["status"]) == (code, refused.value.response.status_code)


async def test_rubbish_on_a_stream_does_no_harm():
    async with bench() as api, listening(api.app) as url:
        viewer = api.auth(Role.VIEWER)
        async with connect(stream(url, "?after=0"), additional_headers=viewer) as socket:
            for rubbish in ("{", b"\xff\x00", "x" * 100_000):
                await socket.send(rubbish)
            await submit(api, 1)
            assert len(await received(socket, 1)) == 1


async def test_a_restart_tells_clients_where_to_resume():
    async with bench() as api, listening(api.app) as url:
        await submit(api, 1)
        viewer = api.auth(Role.VIEWER)
        async with connect(stream(url, "?after=0"), additional_headers=viewer) as socket:
            await received(socket, 1)
            await api.app.state.hub.close()
            with pytest.raises(ConnectionClosed) as closed:
                await received(socket, 1)
            said = closed.value.rcvd
            assert said is not None
            assert (said.code, said.reason) == (1012, "restarting; resume with after=1")


async def test_the_python_client_speaks_for_itself():
    async with bench() as api, listening(api.app) as url:
        token = api.tokens.mint("alice", Role.TRADER, 60)

        def talk():
            with Client(url, token) as client:
                made = client.submit(ACQUIRE, key="k-1")
                assert client.submit(ACQUIRE, key="k-1")["verdict"] == "repeated"
                assert client.get(made["href"])["state"] == "ACCEPTED"
                assert client.delete(made["href"])["state"] == "CANCELLING"
                assert len(client.get("/v1/intents", limit=5, state=None)["intents"]) == 1
                with pytest.raises(ApiProblem) as refused:
                    client.submit(ACQUIRE | {"amount": "0"})
                assert refused.value.facts["field"] == "amount"
                assert "amount is out of range (above 0" in str(refused.value)
                with pytest.raises(ApiProblem) as refused:
                    client.post("/v1/strategies", {})
                assert refused.value.facts["code"] == "forbidden"
                events = client.events(after=0, intent_id=made["id"])
                return [next(events)["type"] for _ in range(2)]

        kinds = await asyncio.to_thread(talk)
        assert kinds == ["IntentAccepted", "IntentCancelRequested"]


async def test_the_python_client_goes_on_over_a_restart_of_the_service(unused_tcp_port):
    store = MemoryStore(ManualClock(NOW))
    wanted: queue.Queue[str] = queue.Queue()

    def watch(token):
        with Client(f"http://127.0.0.1:{unused_tcp_port}", token) as client:
            for event in client.events(after=0):
                wanted.put(event["type"])
                if event["type"] == "IntentCancelRequested":
                    return

    async with bench(store) as api, listening(api.app, unused_tcp_port):
        made = (await api.submit()).json()
        watching = asyncio.create_task(asyncio.to_thread(watch, api.auth()["Authorization"][7:]))
        assert await asyncio.to_thread(wanted.get, timeout=20) == "IntentAccepted"
        await api.app.state.hub.close()
    async with bench(store) as api, listening(api.app, unused_tcp_port):
        await api.client.delete(made["href"], headers=api.auth())
        await watching
        assert await asyncio.to_thread(wanted.get, timeout=20) == "IntentCancelRequested"


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("ftp://x", "t"),
        ("http://", "t"),
        ("http://x:99999", "t"),
        ("x", "t"),
        ("http://x", "\u00fc"),
    ],
)
def test_the_python_client_says_what_is_no_address_or_token(url, token):
    with pytest.raises(Rejected):
        Client(url, token)


def test_the_python_client_says_that_nobody_is_there(unused_tcp_port):
    with (
        Client(f"http://127.0.0.1:{unused_tcp_port}", "token") as client,
        pytest.raises(Transient, match="is the platform up"),
    ):
        client.health()
