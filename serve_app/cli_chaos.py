"""sep chaos: kill everything in turn while intents flow, and count what came of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app.cli_common import facts, session_of, writable


def chaos(
    context: typer.Context,
    seed: Annotated[int, typer.Option(min=0, help="Which faults, in which order.")] = 1,
    faults: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 60,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only this kind of fault; may be given again.")
    ] = None,
    lanes: Annotated[
        int, typer.Option(min=1, max=16, help="Accounts that trade on each chain.")
    ] = 1,
    endpoints: Annotated[
        int, typer.Option(min=1, max=16, help="Of each chain; a proxy stands before the first.")
    ] = 1,
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Two whole platforms on one database instead.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=20, max=86_400, help="How long rivals work side by side.")
    ] = 60.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write what happened there.")
    ] = None,
) -> None:
    """Run a platform of its own, kill its parts while intents flow, and check every promise.

    Exit code 1 when an intent was lost or doubled, a wei is unaccounted for, or a part did not
    come back.
    """
    from serve_app.chaos import rivals as contest
    from serve_app.chaos.run import Wish, met, run_chaos

    writable(json_file)
    began = time.monotonic()

    def report(text: str) -> None:
        typer.echo(f"{time.monotonic() - began:7.1f} s  {text}", err=True)

    default = session_of(context).settings().cache
    cache = Path(os.environ.get("SEP_CACHE_DIR", default)).absolute()
    if rivals:
        answer = contest.run_rivals(seed, seconds, cache, report)
    else:
        only = tuple(kind or ())
        wish = Wish(seed=seed, faults=faults, only=only, lanes=lanes, endpoints=endpoints)
        answer = run_chaos(wish, cache, report)
    if json_file is not None:
        json_file.write_text(json.dumps(answer, indent=1))
    _print(answer)
    if not (contest.met if rivals else met)(answer):
        raise typer.Exit(1)


def _print(answer: Mapping[str, Any]) -> None:
    if "resume_seconds" not in answer:
        facts({name: str(value) for name, value in answer.items()})
        return
    shown = ("accepted", "terminal", "lost", "duplicates", "unaccounted_wei", "faults_total")
    resume = answer["resume_seconds"]
    facts(
        {name: str(answer[name]) for name in shown}
        | {"resume p50, p95": f"{resume['p50']} s, {resume['p95']} s"}
        | {f"  {name}": _words(each) for name, each in resume["by_kind"].items()}
        | {"stale broadcasts": len(answer["stale_broadcasts"])}
        | {"nonce gaps": len(answer["nonce_gaps"]), "not resumed": answer["not_resumed"]}
        | {"ends": answer["ends"], "faults": answer["faults"]}
        | {"faults not done": answer["faults_not_done"]}
    )


def _words(told: Mapping[str, Any]) -> str:
    return f"{told['n']} times: p50 {told['p50']} s, p95 {told['p95']} s, worst {told['worst']} s"
