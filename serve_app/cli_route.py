"""sep route: a plan from a snapshot file, without chain, database or Ray."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from serve_app.cli_common import Failure, JsonFlag, facts, show

if TYPE_CHECKING:
    from sep_ray.kernel.units import Token
    from sep_ray.routing.plan import Plan
    from sep_ray.routing.reasons import NoRoute
    from sep_ray.routing.snapshot_file import SnapshotFile

MOST_SPLITS: Final = 256
MOST_HOPS: Final = 4
MOST_GAS_PRICE: Final = 10**18
MOST_AMOUNT: Final = 10**77


@dataclass(frozen=True, slots=True)
class Question:
    """One request as it was asked. `gas_price` None: the snapshot's base fee."""

    sold: str
    bought: str
    amount: int
    exact_out: bool
    splits: int
    hops: int
    gas_price: int | None


def route(
    snapshot: Annotated[Path, typer.Option(help="The market, a JSON file.")],
    sold: Annotated[str, typer.Option("--in", help="What is sold: symbol or address.")] = "",
    bought: Annotated[str, typer.Option("--out", help="What is bought: symbol or address.")] = "",
    amount: Annotated[
        str, typer.Option(help="Smallest units sold; bought, with --exact-out.")
    ] = "",
    exact_out: Annotated[
        bool, typer.Option("--exact-out", help="The amount is what has to come out.")
    ] = False,
    max_splits: Annotated[int, typer.Option(min=1, max=MOST_SPLITS, help="Legs at most.")] = 16,
    max_hops: Annotated[int, typer.Option(min=1, max=MOST_HOPS, help="Pools of a leg.")] = 4,
    gas_price_wei: Annotated[
        str, typer.Option(help="0: output is all that counts. Default: the snapshot's base fee.")
    ] = "",
    batch: Annotated[
        Path | None,
        typer.Option(
            help='A file with a request per line: {"in", "out", "amount", "exact_out", '
            '"max_splits", "max_hops", "gas_price_wei"}; one JSON answer per line.'
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Plan a swap on a market from a file: exact amounts, and what no route could exceed.

    Amounts in answers are decimal strings of smallest units. upper_bound is the most that any
    route over the same pools could give for amount_in, before gas; gap_bps how far amount_out
    stays behind it. share is a leg's part of the whole, 0 to 1.
    """
    market = _read(snapshot)
    usual = Question(sold, bought, 0, exact_out, max_splits, max_hops, _gas_price(gas_price_wei))
    if batch is not None:
        raise typer.Exit(_batch(market, batch, usual))
    if not (sold and bought and amount):
        raise typer.BadParameter("give --in, --out and --amount, or --batch")
    asked = replace(usual, amount=_integer(amount, "--amount", 0, MOST_AMOUNT))
    answer = answer_to(market, asked)
    show(answer, as_json, lambda: _print(market, asked, answer))


def answer_to(market: SnapshotFile, asked: Question) -> dict[str, Any]:
    """Return the answer to one request; Rejected when an asset is not in the file."""
    from sep_ray.routing.planner import plan
    from sep_ray.routing.reasons import NoRoute

    sold, bought = market.token(asked.sold), market.token(asked.bought)
    began = time.perf_counter()
    request = _request(market, asked, sold, bought)
    found = plan(market.snapshot, request)
    elapsed = round((time.perf_counter() - began) * 1e3, 3)
    if isinstance(found, NoRoute):
        return _none(asked, found, elapsed)
    return _planned(found, elapsed)


def _read(path: Path) -> SnapshotFile:
    import os

    # matrices here are small: threads of a linear algebra library would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from sep_ray.kernel.errors import Rejected
    from sep_ray.routing.snapshot_file import read_snapshot

    try:
        market = read_snapshot(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except Rejected as error:
        raise Failure(f"{path}: {error}") from None
    _ = market.snapshot.index
    return market


def _request(market: SnapshotFile, asked: Question, sold: Token, bought: Token) -> Any:
    from sep_ray.intent.intent import Side
    from sep_ray.kernel.units import Ppm
    from sep_ray.routing.plan import RouteRequest

    gas_price = asked.gas_price
    return RouteRequest(
        sell=sold.asset,
        buy=bought.asset,
        amount=asked.amount,
        side=Side.BUY if asked.exact_out else Side.SELL,
        max_slippage_ppm=Ppm(0),
        deadline_s=1,
        gas_price_wei=market.snapshot.base_fee_wei if gas_price is None else gas_price,
        mix_venues=True,
        max_splits=asked.splits,
        max_hops=asked.hops,
    )


def _planned(plan: Plan, elapsed: float) -> dict[str, Any]:
    return {
        "amount_in": str(plan.amount_in),
        "amount_out": str(plan.amount_out),
        "upper_bound": None if plan.bound is None else str(plan.bound),
        "gap_bps": None if plan.gap_ppm is None else plan.gap_ppm / 100,
        "gas_estimate": plan.gas_estimate,
        "paths": [
            {
                "share": leg.share_ppm / 1_000_000,
                "amount_in": str(leg.path.amount_in),
                "amount_out": str(leg.path.amount_out),
                "pools": list(leg.path.pools),
            }
            for leg in plan.route.legs
        ],
        "elapsed_ms": elapsed,
    }


def _none(asked: Question, found: NoRoute, elapsed: float) -> dict[str, Any]:
    return {
        "amount_in": None if asked.exact_out else str(asked.amount),
        "amount_out": str(asked.amount) if asked.exact_out else None,
        "upper_bound": None,
        "gap_bps": None,
        "gas_estimate": None,
        "paths": [],
        "elapsed_ms": elapsed,
        "reason": found.reason.value,
        "detail": found.detail,
    }


def _batch(market: SnapshotFile, path: Path, usual: Question) -> int:
    """Answer line by line; a line that cannot be read is answered with its error. 1 if any was."""
    import json

    from sep_ray.kernel.errors import Rejected

    failures = 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            answer = answer_to(market, _question(line, usual))
        except Rejected as error:
            failures = 1
            answer = {"error": f"line {number}: {error}"}
        typer.echo(json.dumps(answer))
    return failures


def _lines(path: Path) -> Iterator[str]:
    if str(path) == "-":
        yield from sys.stdin
        return
    try:
        yield from path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _question(line: str, usual: Question) -> Question:
    """Read one line of a batch; what it does not say is as on the command line."""
    import json

    from sep_ray.kernel.errors import Rejected
    from sep_ray.routing.snapshot_file import Fields

    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"not JSON: {error}") from None
    fields = Fields(value, "")
    exact_out = fields.raw("exact_out") if fields.has("exact_out") else usual.exact_out
    if not isinstance(exact_out, bool):
        raise Rejected("exact_out: expected true or false")

    def number(name: str, low: int, high: int, usually: int) -> int:
        return fields.integer(name, low, high) if fields.has(name) else usually

    gas = (
        fields.integer("gas_price_wei", 0, MOST_GAS_PRICE) if fields.has("gas_price_wei") else None
    )
    return Question(
        sold=fields.text("in") if fields.has("in") or not usual.sold else usual.sold,
        bought=fields.text("out") if fields.has("out") or not usual.bought else usual.bought,
        amount=fields.integer("amount", 0, MOST_AMOUNT),
        exact_out=exact_out,
        splits=number("max_splits", 1, MOST_SPLITS, usual.splits),
        hops=number("max_hops", 1, MOST_HOPS, usual.hops),
        gas_price=usual.gas_price if gas is None else gas,
    )


def _gas_price(text: str) -> int | None:
    return _integer(text, "--gas-price-wei", 0, MOST_GAS_PRICE) if text else None


def _integer(text: str, name: str, low: int, high: int) -> int:
    from sep_ray.kernel.errors import Rejected
    from sep_ray.routing.snapshot_file import integer

    try:
        return integer(text.strip(), name, low, high)
    except Rejected as error:
        raise Failure(str(error)) from None


def _print(market: SnapshotFile, asked: Question, answer: dict[str, Any]) -> None:
    sold, bought = market.token(asked.sold), market.token(asked.bought)
    if "reason" in answer:
        facts({"no route": f"{answer['reason']} {answer['detail']}".strip()})
        return
    amount_in, amount_out = int(answer["amount_in"]), int(answer["amount_out"])
    bound = answer["upper_bound"]
    facts(
        {
            "sell": f"{sold.format(amount_in)} {sold.symbol}",
            "buy": f"{bought.format(amount_out)} {bought.symbol}",
            "at most": bound and f"{bought.format(int(bound))} {bought.symbol} by any route",
            "gap": bound and f"{answer['gap_bps']:g} bp",
            "gas": answer["gas_estimate"],
            "took": f"{answer['elapsed_ms']} ms",
        }
    )
    for path in answer["paths"]:
        typer.echo(f"{path['share']:>8.2%}  {' > '.join(path['pools'])}")
