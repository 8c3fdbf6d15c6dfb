"""sep sim: simulated days on which everything goes wrong, and planted bugs that must be found."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve_app.cli_common import Failure, JsonFlag, show, table

if TYPE_CHECKING:
    from sep_ray.simulation.day import Outcome
    from sep_ray.simulation.runs import Progress, Summary

MOST_SEEDS = 10_000_000


def sim(
    seed: Annotated[int | None, typer.Option(min=0, help="One day, with its story.")] = None,
    seeds: Annotated[str, typer.Option(help="Days A..B; B is not one of them.")] = "0..1000",
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="Side by side; default: as many as cores.")
    ] = None,
    bug: Annotated[str | None, typer.Option(help="Plant a bug first; see --bugs.")] = None,
    bugs: Annotated[bool, typer.Option("--bugs", help="Hunt every planted bug.")] = False,
    log: Annotated[bool, typer.Option("--log", help="With --seed: the engine's log too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Simulate the engine on bad days; exit code 1 when a law is broken or a bug not found."""
    from sep_ray.simulation.bugs import BUGS

    if bug is not None and bug not in BUGS:
        raise Failure(f"--bug {bug} is not one of: {', '.join(BUGS)}")
    first, last = _range(seeds)
    cores = processes or os.cpu_count() or 1
    if bugs:
        _hunt(last - first if seeds != "0..1000" else 2_000, cores, as_json)
    elif seed is not None:
        _one(seed, bug, log, as_json)
    else:
        _many(range(first, last), cores, bug, as_json)


def _range(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    if not dots or not (first.isdigit() and last.isdigit()):
        raise Failure(f"--seeds {text} is not of the form A..B")
    low, high = int(first), int(last)
    if not 0 <= low < high <= MOST_SEEDS:
        raise Failure(f"--seeds {text}: needs 0 <= A < B <= {MOST_SEEDS}")
    return low, high


def _one(seed: int, bug: str | None, log: bool, as_json: bool) -> None:
    from sep_ray.simulation.runs import days, hush

    with nullcontext() if log else hush():
        (outcome,) = days([seed], bug)
    answer = _told(outcome) | {"story": list(outcome.story)}

    def text() -> None:
        for line in outcome.story:
            typer.echo(line)
        for words in outcome.broken:
            typer.echo(f"BROKEN  {words}")
        typer.echo(
            f"seed {seed}: {outcome.intents} intents, {outcome.swaps} swaps, "
            f"{outcome.seconds:.0f} simulated seconds, {len(outcome.broken)} laws broken"
        )

    show(answer, as_json, text)
    if outcome.broken:
        raise typer.Exit(1)


def _many(seeds: range, processes: int, bug: str | None, as_json: bool) -> None:
    from sep_ray.simulation.runs import hush, run_many

    began = time.monotonic()
    with hush(), _progress(len(seeds)) as progress:
        summary = run_many(seeds, processes, progress, bug)
    seconds = time.monotonic() - began
    found = summary.broken or []
    answer = {
        "seeds": summary.seeds,
        "violations": summary.breaches,
        "intents": summary.intents,
        "swaps": summary.swaps,
        "seconds": round(seconds, 1),
        "processes": processes,
        "broken": [_told(outcome) for outcome in found],
    }
    show(answer, as_json, lambda: _print(summary, seconds, bug))
    if summary.breaches:
        raise typer.Exit(1)


def _print(summary: Summary, seconds: float, bug: str | None) -> None:
    planted = f" --bug {bug}" if bug else ""
    for outcome in summary.broken or []:
        typer.echo(f"sep sim --seed {outcome.seed}{planted}    {outcome.broken[0][:200]}")
    typer.echo(
        f"{summary.seeds} seeds, {summary.intents} intents, {summary.swaps} swaps in "
        f"{seconds:.1f} s: {summary.breaches} violations"
    )


def _hunt(most: int, processes: int, as_json: bool) -> None:
    from sep_ray.simulation.bugs import BUGS
    from sep_ray.simulation.runs import hunt_all

    rows: list[dict[str, Any]] = []
    for name, outcome in hunt_all(list(BUGS), most, processes):
        seed = outcome.seed if outcome is not None else None
        law = outcome.broken[0] if outcome is not None else ""
        rows.append({"bug": name, "words": BUGS[name].words, "seed": seed, "law": law})
        typer.echo(f"{name}: {'NOT FOUND' if seed is None else f'seed {seed}'}", err=True)
    caught = sum(row["seed"] is not None for row in rows)
    answer = {"caught": caught, "total": len(rows), "within_seeds": most, "bugs": rows}

    def text() -> None:
        cells = ((r["bug"], r["words"], r["seed"], r["law"][:60]) for r in rows)
        table(("bug", "what it does", "seed", "found by"), cells)
        typer.echo(f"{caught}/{len(rows)} caught within {most} seeds")

    show(answer, as_json, text)
    if caught < len(rows):
        raise typer.Exit(1)


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "seed": outcome.seed,
        "reproduce": f"sep sim --seed {outcome.seed}",
        "intents": outcome.intents,
        "swaps": outcome.swaps,
        "broken": list(outcome.broken),
    }


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """Show a bar on a terminal, a line every tenth elsewhere."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Tenths(total)
        return
    with Bar(console=console) as bar:
        task = bar.add_task("days", total=total)
        yield lambda done, broken: bar.update(
            task, completed=done, description=f"{broken} violations"
        )


class _Tenths:
    """Says at every tenth how far it is."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._said = 0

    def __call__(self, done: int, broken: int) -> None:
        tenth = 10 * done // self._total
        if tenth > self._said:
            self._said = tenth
            typer.echo(f"{done}/{self._total} seeds, {broken} violations", err=True)
