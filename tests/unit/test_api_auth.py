"""Every route with every role, and with every token that is none."""

import base64
import json
import stat

import jwt
import pytest
from starlette.routing import WebSocketRoute

from sep_ray.kernel.clock import ManualClock
from serve_app.auth import ALGORITHM, AUDIENCE, ISSUER, ROUTES, Role, Tokens, token_secret
from serve_app.problems import Problem
from tests.fixtures.api import ACQUIRE, NOW, SECRET, bench, problem_of

BODIES = {
    "/v1/intents": ACQUIRE,
    "/intents": ACQUIRE,
    "/v1/intents/batch": {"intents": [ACQUIRE]},
    "/v1/plans": ACQUIRE,
    "/v1/bench/route": ACQUIRE,
}
NOBODY = "01990000-0000-7000-8000-000000000000"
HTTP = sorted(route for route in ROUTES if route[0] != "WEBSOCKET")


def routes_of(app):
    """Yield (method, path) of everything an application answers."""
    for route in app.router.routes:
        if isinstance(route, WebSocketRoute):
            yield "WEBSOCKET", route.path
        else:
            for method in route.methods - {"HEAD"}:
                yield method, route.path
    yield from app.hot


async def test_the_table_of_roles_is_the_table_of_routes():
    async with bench() as api:
        assert set(routes_of(api.app)) == set(ROUTES)


async def ask(api, method, path, headers):
    ids = ("intent_id", "reference", "halt_id", "attempt_id", "transfer_id")
    named = dict.fromkeys(ids, NOBODY)
    more = {"strategy_id": "nobody", "limit_id": "none", "chain_id": "1", "account": "0x"}
    where = path.format(**named, **more)
    return await api.client.request(method, where, json=BODIES.get(path, {}), headers=headers)


@pytest.mark.parametrize(("method", "path"), HTTP)
async def test_every_route_asks_for_its_role(method, path):
    least = ROUTES[method, path]
    async with bench() as api:
        for role in Role:
            answer = await ask(api, method, path, api.auth(role))
            if least is not None and role < least:
                found = problem_of(answer, 403, "forbidden")
                assert least.name.lower() in found["detail"]
                assert await api.events() == ()
            else:
                assert answer.status_code not in (401, 403), (role, answer.text)


def claims(**changes):
    now = NOW // 1_000
    usual = {"sub": "eve", "role": "admin", "aud": AUDIENCE, "iss": ISSUER, "exp": now + 60}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def signed(secret=SECRET, algorithm=ALGORITHM, **changes):
    return jwt.encode(claims(**changes), secret, algorithm)


def unsigned():
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims())}."


BAD_TOKENS = {
    "none": (None, "unauthenticated"),
    "empty": ("", "unauthenticated"),
    "other scheme": ("Basic YTpi", "unauthenticated"),
    "no token": ("Bearer", "unauthenticated"),
    "nonsense": ("Bearer nonsense", "token_invalid"),
    "forged": (f"Bearer {signed(secret='another secret, as long as ours is, or longer')}", None),
    "alg none": (f"Bearer {unsigned()}", "token_invalid"),
    "other algorithm": (f"Bearer {signed(secret=SECRET * 2, algorithm='HS512')}", None),
    "tampered": (f"Bearer {signed()[:-4]}AAAA", "token_invalid"),
    "wrong audience": (f"Bearer {signed(aud='other')}", "token_invalid"),
    "no audience": (f"Bearer {signed(aud=None)}", "token_invalid"),
    "wrong issuer": (f"Bearer {signed(iss='other')}", "token_invalid"),
    "no subject": (f"Bearer {signed(sub=None)}", "token_invalid"),
    "odd subject": (f"Bearer {signed(sub='a' + chr(0))}", "token_invalid"),
    "no role": (f"Bearer {signed(role=None)}", "token_invalid"),
    "unknown role": (f"Bearer {signed(role='god')}", "token_invalid"),
    "no expiry": (f"Bearer {signed(exp=None)}", "token_invalid"),
    "odd expiry": (f"Bearer {signed(exp='soon')}", "token_invalid"),
    "odd scope": (f"Bearer {signed(strategies='all')}", "token_invalid"),
    "empty scope": (f"Bearer {signed(strategies=[])}", "token_invalid"),
    "expired": (f"Bearer {signed(exp=NOW // 1_000)}", "token_expired"),
}


@pytest.mark.parametrize("token", BAD_TOKENS)
async def test_no_route_takes_a_bad_token(token):
    header, code = BAD_TOKENS[token]
    headers = {} if header is None else {"Authorization": header}
    async with bench() as api:
        for (method, path), least in ROUTES.items():
            if method == "WEBSOCKET":
                continue
            answer = await ask(api, method, path, headers)
            if least is None:
                assert answer.status_code in (200, 202, 503)
            else:
                problem_of(answer, 401, code or "token_invalid")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert await api.events() == ()


async def test_a_token_that_was_good_expires():
    async with bench() as api:
        headers = api.auth(ttl_s=10)
        answer = await api.client.get("/v1/whoami", headers=headers)
        assert answer.json()["expires_at"] == NOW + 10_000
        api.clock.advance(9_999)
        assert (await api.client.get("/v1/whoami", headers=headers)).status_code == 200
        api.clock.advance(1)
        problem_of(await api.client.get("/v1/whoami", headers=headers), 401, "token_expired")


async def test_a_token_says_what_it_allows():
    async with bench(limit=77) as api:
        headers = api.auth(Role.RISK, "carol", strategies=["b", "a"])
        said = (await api.client.get("/v1/whoami", headers=headers)).json()
        assert (said["principal"], said["role"]) == ("carol", "risk")
        assert (said["strategies"], said["submissions_per_minute"]) == (["a", "b"], 77)


def test_many_tokens_do_not_fill_the_memory():
    tokens = Tokens(SECRET, ManualClock(NOW))
    for number in range(4_200):
        tokens.verify(tokens.mint(f"p{number}", Role.VIEWER, 60))
    assert len(tokens._verified) <= 4_096


def test_the_secret_is_made_once_and_readable_by_its_owner_only(tmp_path):
    first = token_secret(None, tmp_path / "state")
    assert token_secret(None, tmp_path / "state") == first
    assert len(first) >= 32
    (file,) = (tmp_path / "state" / "secrets").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert token_secret("from the settings", tmp_path / "other") == "from the settings"
    assert not (tmp_path / "other").exists()


def test_a_problem_keeps_its_challenge():
    with pytest.raises(Problem) as refused:
        Tokens(SECRET, ManualClock(NOW)).principal(None)
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")
