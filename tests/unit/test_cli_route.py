"""sep route: answers with every key, reasons instead of tracebacks, one line per error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.markets import market
from sep_ray.routing.snapshot_file import write_snapshot
from serve_app.cli import main

KEYS = {"amount_in", "amount_out", "upper_bound", "gap_bps", "gas_estimate", "paths", "elapsed_ms"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("route") / "market.json"
    path.write_text(write_snapshot(market(40)))
    return path


@pytest.fixture
def sep(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["sep", *map(str, arguments)])
        code = main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def trade(file, amount, *more):
    names = ("--in", "WETH", "--out", "USDC", "--amount", amount)
    return ("route", "--snapshot", file, *names, "--gas-price-wei", 0, *more)


def test_a_sale(sep, file):
    code, out, _ = sep(*trade(file, 50 * 10**18, "--json"))
    answer = json.loads(out)
    assert code == 0
    assert set(answer) == KEYS
    assert int(answer["amount_in"]) == 50 * 10**18
    assert int(answer["amount_out"]) <= int(answer["upper_bound"])
    assert 0 <= answer["gap_bps"] < 1
    assert sum(int(path["amount_in"]) for path in answer["paths"]) == 50 * 10**18
    assert sum(int(p["amount_out"]) for p in answer["paths"]) == int(answer["amount_out"])
    assert sum(path["share"] for path in answer["paths"]) == pytest.approx(1)
    assert all(
        set(path) == {"share", "amount_in", "amount_out", "pools"} for path in answer["paths"]
    )


def test_a_purchase_and_limits_on_the_route(sep, file):
    asked = trade(file, 10**11, "--exact-out", "--max-splits", 2, "--max-hops", 1, "--json")
    answer = json.loads(sep(*asked)[1])
    assert int(answer["amount_out"]) == 10**11 <= int(answer["upper_bound"])
    assert 1 <= len(answer["paths"]) <= 2
    assert all(len(path["pools"]) == 1 for path in answer["paths"])


def test_text_for_people(sep, file):
    code, out, _ = sep(*trade(file, 10**18))
    assert code == 0
    assert "sell  " in out
    assert "1 WETH" in out
    assert "gap" in out


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (0, "amount_too_small"),
        (1, "amount_too_small"),
        (10**76, "amount_too_large"),
    ],
)
def test_dust_and_absurd_amounts_are_answered(sep, file, amount, reason):
    code, out, _ = sep(*trade(file, amount, "--json"))
    answer = json.loads(out)
    assert code == 0
    assert answer["reason"] in (reason, "insufficient_liquidity", "outside_known_ticks")
    assert answer["paths"] == []


def test_no_path_is_an_answer(sep, tmp_path):
    path = tmp_path / "few.json"
    content = json.loads(write_snapshot(market(40)))
    path.write_text(json.dumps(content | {"pools": []}))
    answer = json.loads(sep(*trade(path, 10**18, "--json"))[1])
    assert answer["reason"] == "no_path"
    assert set(answer) == KEYS | {"reason", "detail"}


@pytest.mark.parametrize(
    ("amount", "more", "said"),
    [
        ("1.5", (), "--amount: expected an integer"),
        ("-1", (), "--amount: -1 is outside"),
        ("5", ("--in", "NONE"), "NONE: the snapshot has no such token"),
        ("5", ("--max-hops", "9"), "--max-hops"),
        ("5", ("--snapshot", "missing.json"), "missing.json: No such file"),
        ("5", ("--batch", "missing.txt"), "missing.txt: No such file"),
    ],
)
def test_an_error_is_one_line(sep, file, amount, more, said):
    code, out, err = sep(*trade(file, amount, *more))
    assert code > 0
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_batch_is_answered_line_by_line(sep, file, tmp_path):
    lines = [
        json.dumps({"in": "WETH", "out": "USDC", "amount": str(10**18)}),
        json.dumps({"in": "USDC", "out": "WETH", "amount": 10**17, "exact_out": True}),
        json.dumps({"in": "WETH", "out": "USDC"}),
        "nonsense",
        json.dumps({"in": "WETH", "out": "WETH", "amount": 5, "max_splits": 1}),
    ]
    batch = tmp_path / "batch.jsonl"
    batch.write_text("\n".join(lines))
    code, out, _ = sep("route", "--snapshot", file, "--batch", batch, "--gas-price-wei", 0)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert int(answers[0]["amount_in"]) == 10**18
    assert int(answers[1]["amount_out"]) == 10**17
    assert answers[2] == {"error": "line 3: amount: missing"}
    assert answers[3]["error"].startswith("line 4: not JSON")
    assert answers[4]["reason"] == "same_token"


def test_it_needs_neither_chain_nor_database_nor_ray():
    loaded = "import sys, serve_app.cli_route, sep_ray.routing.planner; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert not {"ray", "web3", "asyncpg", "pydantic", "fastapi"} & set(done.stdout.split())
