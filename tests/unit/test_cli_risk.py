"""sep halt, halts, release and limits: what they send, what they print, whom they refuse."""

import json

import pytest

from serve_app.auth import Role
from tests.unit.test_cli import sep, served, submitted

__all__ = ["sep", "served"]

INTENT = "0190a0a0-0000-7000-8000-000000000001"
CONTRACT = "0x" + "ab" * 20


@pytest.fixture
def as_role(served, monkeypatch):
    """Go on as somebody with this role."""

    def become(role):
        monkeypatch.setenv("SEP_TOKEN", served.api.tokens.mint("somebody", role, 3_600))

    return become


def answered(sep, *words):
    code, out, err = sep(*words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def refused(sep, *words):
    """Run what must fail; return the one line that it complains in."""
    code, out, err = sep(*words)
    assert code != 0
    assert out == ""
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "what", "mode"),
    [
        (("strategy", "momentum", "--reducing"), "strategy momentum", "reducing"),
        (("chain", "1"), "chain 1", "halted"),
        (("all",), "everything", "halted"),
    ],
)
def test_p10_every_scope_is_halted_listed_and_released(sep, words, what, mode):
    code, out, err = sep("halt", *words, "--why", "drill")
    assert (code, err) == (0, "")
    assert out.startswith(f"{mode}: {what}; release it with: sep release ")
    (listed,) = (each for each in answered(sep, "halts")["halts"] if each["id"] in out)
    assert (listed["mode"], listed["why"], listed["principal"]) == (mode, "drill", "operator")
    name = listed["id"]
    assert any(name in line and what in line for line in sep("halts")[1].splitlines())
    code, out, err = sep("release", name, "--why", "over")
    assert (code, out, err) == (0, f"released {what}, by operator\n", "")
    assert name not in sep("halts")[1]
    assert "released by operator" in sep("halts", "--released")[1]


def test_p10_an_intent_is_halted_and_released(sep):
    name = submitted(sep)
    code, out, _ = sep("halt", "intent", name)
    assert code == 0
    assert out.startswith(f"halted: intent {name}; release it with: sep release ")
    (placed,) = (each for each in answered(sep, "halts")["halts"] if each["target"] == name)
    assert sep("release", placed["id"]) == (0, f"released intent {name}, by operator\n", "")


def test_p10_a_halt_in_json_is_released_in_json(sep):
    placed = answered(sep, "halt", "chain", "42161")
    assert (placed["scope"], placed["target"], placed["mode"]) == ("chain", "42161", "halted")
    assert answered(sep, "release", placed["id"])["released_by"] == "operator"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("halt", "intent", "nonsense"), "no intent nonsense"),
        (("halt", "intent", INTENT), f"no intent {INTENT}"),
        (("halt", "chain", "77"), "(1, 42161)"),
        (("halt", "strategy", ""), "strategy"),
        (("release", INTENT), "halt"),
        (("release", "nonsense"), "halt"),
    ],
)
def test_what_cannot_be_halted_is_said_in_one_line(sep, words, said):
    assert said in refused(sep, *words)


def test_p10_only_risk_officers_halt_release_and_limit(sep, as_role):
    placed = answered(sep, "halt", "strategy", "other")["id"]
    as_role(Role.TRADER)
    for words in (
        ("halt", "all"),
        ("release", placed),
        ("limits", "set", "cap", "transaction", "--value", "5"),
        ("limits", "remove", "cap"),
    ):
        assert "risk" in refused(sep, *words)
    assert placed in sep("halts")[1]
    assert answered(sep, "limits", "list")["limits"] == []
    as_role(Role.RISK)
    assert answered(sep, "release", placed)["released_by"] == "somebody"


@pytest.mark.parametrize(
    ("words", "about", "most"),
    [
        (("transaction", "--value", "2500.5"), "everything", "2500.5 USD"),
        (("window", "--value", "9", "--window-s", "60"), "everything", "9 USD in 60 s"),
        (("total", "--count", "7", "--strategy", "momentum"), "strategy momentum", "7 count"),
        (("drawdown", "--ppm", "50000", "--strategy", "momentum"), "strategy momentum", "50000"),
        (
            ("list", "--chain", "1", "--listed", "contracts", "--member", CONTRACT),
            "chain 1",
            "1 contracts",
        ),
    ],
)
def test_p9_limits_are_set_shown_and_removed(sep, words, about, most):
    code, out, err = sep("limits", "set", "cap", *words)
    assert (code, err) == (0, "")
    assert out.startswith(f"cap: {words[0]} of ")
    assert about in out
    assert most in out
    (row,) = (line for line in sep("limits", "list")[1].splitlines() if line.split()[:1] == ["cap"])
    assert about in row
    assert most in row
    (listed,) = answered(sep, "limits", "list")["limits"]
    assert (listed["id"], listed["kind"]) == ("cap", words[0])
    assert sep("limits", "remove", "cap") == (0, "removed cap\n", "")
    assert answered(sep, "limits", "list")["limits"] == []


def test_p9_the_same_name_replaces_a_limit(sep):
    answered(sep, "limits", "set", "cap", "transaction", "--value", "5")
    assert (
        answered(sep, "limits", "set", "cap", "transaction", "--value", "6")["amount"] == "6000000"
    )
    assert len(answered(sep, "limits", "list")["limits"]) == 1
    assert answered(sep, "limits", "remove", "cap") is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "cap", "transaction", "--value", "much"), "--value much is not a number"),
        (("set", "cap", "transaction", "--value", "0.0000001"), "not a whole number"),
        (("set", "cap", "transaction", "--value", "-1"), "not a whole number"),
        (("set", "cap", "transaction", "--value", "1", "--gas", "1"), "give one of"),
        (("set", "cap", "transaction"), "needs --value"),
        (("set", "cap", "nonsense", "--value", "1"), "kind"),
        (("set", "cap", "window", "--value", "1"), "window_ms"),
        (("set", "cap", "list", "--listed", "contracts", "--member", "0x1"), "member"),
        (("set", "cap", "transaction", "--value", "1", "--chain", "77"), "chain"),
        (("remove", "absent"), "absent"),
    ],
)
def test_p9_a_wrong_limit_is_one_clear_line(sep, words, said):
    assert said in refused(sep, "limits", *words)
