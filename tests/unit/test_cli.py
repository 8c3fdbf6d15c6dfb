"""The sep command against a real HTTP server: what it prints, and how it fails."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from uuid import UUID

import jwt
import pytest

from sep_ray.intent.states import (
    TERMINAL,
    TRANSITIONS,
    IntentCancelled,
    IntentCancelRequested,
    Reason,
)
from sep_ray.kernel.errors import Transient
from serve_app import platform
from serve_app.auth import Role
from serve_app.cli import main
from serve_app.cli_intent import ENDED, ENDINGS
from serve_app.health import Probe
from tests.fixtures.api import ACQUIRE, bench, listening
from tests.fixtures.eventually import eventually
from tests.fixtures.records import commit, then
from tests.unit.test_api_money import funded
from tests.unit.test_api_read import filled
from tests.unit.test_api_system import CODE, unharmed

SUBMIT = ["intent", "submit", "--type", "acquire", "--chain", "1", "--sell", "USDC", "--buy"]


class Served:
    """An application in a thread of its own, as a command meets it."""

    def __init__(self):
        self.url = self.token = ""
        self._loop = asyncio.new_event_loop()
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self):
        async def fine():
            return "as it should be"

        probes = {"postgres": Probe(ask=fine)}
        async with bench(trial=unharmed, probes=probes) as self.api, listening(self.api.app) as url:
            self.url = url
            self.token = self.api.tokens.mint("operator", Role.ADMIN, 3_600)
            self._ready.set()
            await self._done.wait()

    def __enter__(self):
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    def run(self, work):
        """Run a coroutine beside the server."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@pytest.fixture(scope="module")
def served():
    with Served() as made:
        yield made


@pytest.fixture
def sep(served, monkeypatch, capsys, tmp_path):
    """Run the command; returns (exit code, what it printed, what it complained)."""
    monkeypatch.setenv("SEP_URL", served.url)
    monkeypatch.setenv("SEP_TOKEN", served.token)
    monkeypatch.setenv("SEP_STATE_DIR", str(tmp_path / "state"))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["sep", *map(str, words)])
        code = main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


def submitted(sep, *more):
    code, out, err = sep(*SUBMIT, "WETH", "--amount", "1.5", "--json", *more)
    assert (code, err) == (0, "")
    return json.loads(out)["id"]


def test_submit_show_list_cancel_and_why(sep):
    name = submitted(sep, "--strategy", "cli-1", "--note", "by hand")
    code, out, _ = sep("intent", "show", name)
    assert code == 0
    assert "buy 1.5 WETH with USDC on chain 1" in out
    assert re.search(r"state +ACCEPTED", out)
    assert json.loads(sep("intent", "show", name, "--json")[1])["note"] == "by hand"
    code, out, _ = sep("intent", "list", "--strategy", "cli-1")
    assert code == 0
    assert name in out
    assert "operator" not in out
    code, out, _ = sep("intent", "cancel", name)
    assert (code, out) == (0, f"{name} CANCELLING\n")
    code, out, _ = sep("why", name)
    assert code == 0
    assert "operator asked to stop; nothing more begins" in out
    assert out.splitlines()[-1] == "CANCELLING"
    assert len(json.loads(sep("why", name, "--json")[1])["events"]) == 2


def test_everything_an_intent_can_say_can_be_said(sep, served):
    name = submitted(
        sep,
        *("--slippage", "0.01", "--window-ms", 120_000, "--limit-price", "0.0003"),
        *("--max-gas", 300_000, "--venue", "uniswap-v3", "--twap", 4, "--catch-up", "skip"),
        *("--side", "sell", "--key", "cli-key"),
    )
    shown = json.loads(sep("intent", "show", name, "--json")[1])
    bounds = shown["constraints"]
    assert (bounds["max_slippage"], bounds["time_window_ms"]) == ("0.01", 120_000)
    assert (bounds["limit_price"], bounds["max_gas"]) == ("0.0003", 300_000)
    assert (bounds["style"], bounds["slices"], bounds["catch_up"]) == ("twap", 4, "skip")
    assert (bounds["venues"], shown["side"]) == (["uniswap-v3"], "sell")
    code, out, _ = sep(
        *("intent", "submit", "--type", "REBALANCE", "--chain", 1, "--json"),
        *("--target", "WETH=0.5", "--target", "USDC=0.5", "--tolerance", "0.02"),
    )
    assert code == 0
    shown = json.loads(sep("intent", "show", json.loads(out)["id"], "--json")[1])
    assert [(t["symbol"], t["weight"]) for t in shown["targets"]] == [
        ("WETH", "0.5"),
        ("USDC", "0.5"),
    ]


def test_a_bridge_intent_can_be_said(sep):
    code, out, err = sep(
        *("intent", "submit", "--type", "BRIDGE", "--chain", 1, "--to-chain", 42161),
        *("--sell", "USDC", "--amount", "1", "--bridge-by", "fastest", "--json"),
    )
    assert code == 0, err
    assert json.loads(sep("intent", "show", json.loads(out)["id"], "--json")[1])["type"] == "BRIDGE"


def test_an_intent_from_a_file(sep, tmp_path):
    file = tmp_path / "intent.json"
    file.write_text(json.dumps(ACQUIRE))
    assert sep("intent", "submit", "--file", file)[0] == 0
    file.write_text("{")
    code, _, err = sep("intent", "submit", "--file", file)
    assert code == 1
    assert "is not JSON" in err
    code, _, err = sep("intent", "submit", "--file", tmp_path / "absent")
    assert (code, err.count("\n")) == (1, 1)


def test_pages_go_on_where_they_end(sep):
    for _ in range(3):
        submitted(sep, "--strategy", "cli-pages")
    page = json.loads(sep("intent", "list", "--strategy", "cli-pages", "--limit", 2, "--json")[1])
    assert len(page["intents"]) == 2
    code, out, _ = sep(
        "intent", "list", "--strategy", "cli-pages", "--limit", 2, "--cursor", page["next"]
    )
    assert code == 0
    assert "more:" not in out


def test_watch_ends_with_the_intent(sep, served):
    name, _, _ = served.run(filled(served.api))
    code, out, _ = sep("intent", "watch", name)
    assert code == 0
    assert "Completed: filled" in out
    code, out, _ = sep("intent", "watch", name, "--json")
    assert [json.loads(line)["type"] for line in out.splitlines()][-1] == "IntentCompleted"


def test_watch_follows_what_happens(sep, served):
    name = submitted(sep)

    def cancel_and_end():
        eventually(lambda: served.api.app.state.hub.watched)
        record = served.run(served.api.store.intent(UUID(name)))
        events = (
            IntentCancelRequested(principal="operator"),
            IntentCancelled(reason=Reason.CANCELLED_BY_CLIENT),
        )
        ending = commit(then(record, *events), correlation_id=UUID(name))
        served.run(served.api.store.commit(ending))

    thread = threading.Thread(target=cancel_and_end)
    thread.start()
    code, out, err = sep("intent", "watch", name)
    thread.join()
    assert code == 1
    assert "Stopped before anything was done" in out
    assert err == f"sep: {name} ended CANCELLED\n"


def test_watching_ends_with_every_ending():
    leading = {event.__name__ for (_, event), status in TRANSITIONS.items() if status in TERMINAL}
    assert leading == ENDINGS
    assert set(TERMINAL) == ENDED


def test_portfolio_and_allocations(sep, served):
    served.run(funded(served.api))
    code, out, _ = sep("portfolio")
    assert code == 0
    assert re.search(r"treasury +1 +USDC +100", out)
    code, out, _ = sep(
        "portfolio", "allocate", "--to", "cli-2", "--asset", "USDC", "--chain", 1, "--amount", "2.5"
    )
    assert (code, out) == (0, "2.5 USDC from treasury to cli-2\n")
    held = json.loads(sep("portfolio", "--strategy", "cli-2", "--json")[1])
    assert [each["amount"] for each in held["totals"]] == ["2.5"]
    code, out, err = sep("portfolio", "--check")
    assert code == 1
    assert "no chain is being read" in out
    assert err.startswith("sep: 0 balances differ")
    code, _, err = sep(
        "portfolio", "allocate", "--to", "x", "--asset", "USDC", "--chain", 1, "--amount", "9999"
    )
    assert code == 1
    assert "strategy_id=treasury" in err


def test_strategies(sep, tmp_path):
    file = tmp_path / "quiet_one.py"
    file.write_text(CODE)
    code, out, err = sep("strategy", "start", f"{file}:Quiet")
    assert (code, out) == (0, "quiet RUNNING\n"), err
    assert sep("strategy", "pause", "quiet")[1] == "quiet PAUSED\n"
    assert sep("strategy", "resume", "quiet")[1] == "quiet RUNNING\n"
    assert "quiet_one.py:Quiet" in sep("strategy", "list")[1]
    assert json.loads(sep("strategy", "stop", "quiet", "--json")[1])["state"] == "STOPPED"
    code, _, err = sep("strategy", "start", f"{tmp_path}/absent.py:Quiet")
    assert (code, err.count("\n")) == (1, 1)
    code, _, err = sep("strategy", "start", f"{file}:Loud", "--id", "loud")
    assert code == 1
    assert "has no class Loud" in err
    assert sep("strategy", "pause", "nobody")[0] == 1


def test_a_token_for_somebody_else(sep):
    code, out, _ = sep(
        "token", "--role", "viewer", "--name", "grafana", "--hours", 2, "--strategy", "a"
    )
    assert code == 0
    claims = jwt.decode(out.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["role"], claims["strategies"]) == ("grafana", "viewer", ["a"])
    assert claims["exp"] - claims["iat"] == 7_200
    assert json.loads(sep("token", "--json")[1])["role"] == "trader"


def test_status_of_a_platform_elsewhere(sep):
    code, out, _ = sep("status")
    assert code == 0
    assert re.search(r"postgres +ok +as it should be", out)
    assert json.loads(sep("status", "--json")[1])["health"]["state"] == "ok"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nothing"], 2, "No such command 'nothing'"),
        (["intent", "nothing"], 2, "No such command"),
        (["intent", "show"], 2, "Missing argument"),
        (["intent", "list", "--limit", "x"], 2, "--limit"),
        (["intent", "list", "--limit", "900"], 1, "limit is not acceptable (1..200)"),
        (["intent", "show", "nonsense"], 1, "no intent nonsense"),
        (["intent", "cancel", "nonsense"], 1, "no intent nonsense"),
        (["intent", "watch", "nonsense"], 1, "no intent nonsense"),
        (["why", "nonsense"], 1, "no intent, step, attempt, transfer or transaction nonsense"),
        ([*SUBMIT, "WETH", "--amount", "0"], 1, "amount is out of range (above 0"),
        ([*SUBMIT, "PEPE", "--amount", "1"], 1, "buy is not known (WETH, USDC, USDT, WBTC, DAI)"),
        ([*SUBMIT, "USDC", "--amount", "1"], 1, "buy is the asset sold"),
        ([*SUBMIT, "WETH", "--amount", "1", "--slippage", "0.5"], 1, "(0.001..0.1)"),
        ([*SUBMIT, "WETH", "--amount", "1", "--window-ms", "5"], 1, "(60000..3600000)"),
        (["intent", "submit"], 1, "type is required (ACQUIRE"),
        (["intent", "submit", "--target", "WETH"], 1, "is not ASSET=WEIGHT"),
        ([*SUBMIT, "WETH", "--amount", "1", "--key", "\u00fc"], 1, "visible ASCII characters"),
        ([*SUBMIT, "WETH", "--amount", "1", "--file", "x"], 1, "--file is the whole intent"),
        (["intent", "submit", "--file", "/dev/null"], 1, "is not JSON"),
        (["intent", "show", ".."], 1, "'..' names nothing"),
        (["intent", "show", ""], 1, "'' names nothing"),
        (["intent", "show", "a/b"], 1, "'a/b' names nothing"),
        (["intent", "list", "--chain", "7"], 1, "chain_id is not known (1, 42161)"),
        (["attempts", "list", "--state", "lost"], 1, "NEEDS_OPERATOR"),
        (["transfers", "--chain", "7"], 1, "chain_id is not known (1, 42161)"),
        (["strategy", "stop", "a?c"], 1, "no strategy a?c"),
        (["portfolio", "--strategy", "nosuch"], 1, "strategy_id is not known"),
        (["--url", "ftp://x", "intent", "list"], 1, "is not an address"),
        (["--token", "\u00fc", "intent", "list"], 1, "visible ASCII characters"),
        (["demo", "--json", "/nowhere/x.json"], 1, "cannot be written"),
        (["chaos", "--json", "/nowhere/x.json"], 1, "cannot be written"),
        (["token", "--name", ""], 1, "--name takes 1..64"),
        (["token", "--strategy", ""], 1, "--strategy takes 1..64"),
        (["token", "--role", "god"], 1, "viewer, trader, risk, admin"),
        (["strategy", "start", "momentum", "--param", "x"], 1, "is not NAME=VALUE"),
    ],
)
def test_what_goes_wrong_is_one_line(sep, words, code, says):
    got, out, err = sep(*words)
    assert got == code, err
    assert out == ""
    assert err.startswith("sep: ")
    assert err.count("\n") == 1
    assert says in err


def test_nobody_there(sep, monkeypatch, unused_tcp_port):
    monkeypatch.setenv("SEP_URL", f"http://127.0.0.1:{unused_tcp_port}")
    code, _, err = sep("intent", "list")
    assert code == 1
    assert "is the platform up?" in err


def test_no_platform_in_the_state_folder(sep, monkeypatch):
    monkeypatch.delenv("SEP_URL")
    code, _, err = sep("intent", "list")
    assert code == 1
    assert "start it with: sep up" in err
    code, out, _ = sep("status")
    assert code == 1
    assert "not running" in out
    assert sep("down")[1] == "not running\n"


def test_a_wrong_setting_names_its_variable(sep, monkeypatch):
    monkeypatch.delenv("SEP_URL")
    monkeypatch.setenv("SEP_API_REPLICAS", "many")
    code, _, err = sep("status")
    assert code == 1
    assert err.startswith("sep: SEP_API_REPLICAS: ")


def test_a_wrong_token(sep, monkeypatch):
    monkeypatch.setenv("SEP_TOKEN", "nonsense")
    code, _, err = sep("intent", "list")
    assert code == 1
    assert err == "sep: it was not made here, or not for this\n"


def test_up_says_what_goes_on_and_where_things_are(sep, monkeypatch):
    def up(settings, foreground, report):
        report("starting chains")
        return {"api": "http://127.0.0.1:1", "chains": {"1": "http://127.0.0.1:2"}, "pid": 7}

    monkeypatch.setattr(platform, "up", up)
    code, out, err = sep("up")
    assert code == 0
    assert "starting chains" in err
    assert re.search(r"chain 1 +http://127.0.0.1:2", out)
    assert json.loads(sep("up", "--json")[1])["pid"] == 7


def test_up_that_fails_is_one_line(sep, monkeypatch):
    def up(settings, foreground, report):
        raise Transient("the platform ended while starting", log="line 1\nline 2")

    monkeypatch.setattr(platform, "up", up)
    code, _, err = sep("up")
    assert code == 1
    assert err.count("\n") == 1


def test_the_doctor_looks_at_everything(sep, tmp_path):
    code, out, _ = sep("doctor", "--json")
    findings = {each["check"]: each for each in json.loads(out)["findings"]}
    assert findings["Python"]["ok"]
    assert findings["packages"]["ok"]
    assert findings["platform"]["found"] == "not running"
    assert all(each["advice"] for each in findings.values() if not each["ok"])
    assert code == (0 if all(each["ok"] for each in findings.values()) else 1)


def test_the_doctor_sees_secrets_that_others_can_read(sep, tmp_path):
    secrets = tmp_path / "state" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "jwt").write_text("x")
    (secrets / "jwt").chmod(0o644)
    code, out, err = sep("doctor")
    assert code == 1
    assert "chmod 600 jwt" in " ".join(out.split())
    assert "secrets" in err


def test_help_and_version_come_quickly():
    """Half a second on an idle machine; here the work it does is measured, not the wait."""
    command = [str(Path(sys.executable).with_name("sep")), "--help"]
    spent = []

    def quick():
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import serve_app.cli"],
            capture_output=True,
            text=True,
            check=True,
        )
        total = done.stderr.splitlines()[-1].split("|")[1]
        spent.append(int(total) / 1e6)
        return min(spent) < 0.4

    eventually(quick, 20)
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("up", "down", "status", "doctor", "demo", "token", "intent", "portfolio", "why"):
        assert name in shown.stdout
    loaded = "import sys, serve_app.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    heavy = {"ray", "fastapi", "httpx", "pydantic", "web3", "asyncpg", "rich.table"}
    assert heavy.isdisjoint(modules.stdout.split())
