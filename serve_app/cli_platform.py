"""sep up, down, status, doctor, demo, token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app.cli_common import (
    Failure,
    JsonFlag,
    facts,
    mint,
    progress,
    session_of,
    show,
    table,
    writable,
)
from serve_app.cli_risk import loudly, print_halts


def up(
    context: typer.Context,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay here until interrupted.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start the platform unless it runs, and print its endpoints."""
    from serve_app import platform

    settings = session_of(context).settings()
    with progress() as report:
        endpoints = platform.up(settings, foreground, report)
    show(endpoints, as_json, lambda: _print_endpoints(endpoints))


def down(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Stop the platform; what it was doing goes on when it starts again."""
    from serve_app import platform

    settings = session_of(context).settings()
    with progress() as report:
        stopped = platform.down(settings, report)
    show({"stopped": stopped}, as_json, lambda: typer.echo("stopped" if stopped else "not running"))


def status(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Show how every service is; exit code 1 when intents cannot be carried out."""
    session = session_of(context)
    answer: dict[str, Any] = {}
    if session.url is None:
        from serve_app import platform

        answer = platform.status(session.settings())
        if not answer["running"]:
            show(answer, as_json, lambda: facts({"state": "not running", **_outline(answer)}))
            raise typer.Exit(1)
    with session.client() as client:
        answer["health"] = client.health()
        answer["halts"] = client.get("/v1/halts")["halts"]
        answer["strategies"] = client.get("/v1/strategies")["strategies"]
        answer["open_intents"] = dict.fromkeys(("ACCEPTED", "ACTIVE", "CANCELLING"), 0)
        for each in client.get("/v1/intents/summary")["open"]:
            answer["open_intents"][each["state"]] += each["count"]
    show(answer, as_json, lambda: _print_status(answer))
    if answer["health"]["state"] == "down":
        raise typer.Exit(1)


def doctor(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Check what the platform needs, and say what to do about what is missing."""
    from serve_app.doctor import examine

    findings = examine(session_of(context).settings())
    rows = [
        {"check": each.check, "ok": each.ok, "found": each.found, "advice": each.advice}
        for each in findings
    ]

    def text() -> None:
        table(
            ("", "check", "found", "what to do"),
            (("ok" if r["ok"] else "NO", r["check"], r["found"], r["advice"]) for r in rows),
        )

    show({"findings": rows}, as_json, text)
    wrong = [each.check for each in findings if not each.ok]
    if wrong:
        raise Failure(f"not as it should be: {', '.join(wrong)}")


def demo(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="[trades|rebalance|all]", help="On each chain, or over both chains."
        ),
    ] = "trades",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write what happened there.")
    ] = None,
) -> None:
    """Bring the platform up, run real intents end to end, and show what happened."""
    from serve_app.demo import Demo, print_trades, run_demos
    from serve_app.demo_rebalance import Walkthrough, print_walkthrough

    known = {"trades": (Demo, print_trades), "rebalance": (Walkthrough, print_walkthrough)}
    wanted = known if what == "all" else {name: known[name] for name in known if name == what}
    if not wanted:
        raise Failure(f"no such demonstration: {what}; there are {', '.join(known)} and all")
    writable(json_file)
    code = run_demos(session_of(context).settings(), wanted, json_file)
    if code:
        raise typer.Exit(code)


def token(
    context: typer.Context,
    role: Annotated[str, typer.Option(help="viewer, trader, risk or admin.")] = "trader",
    name: Annotated[str | None, typer.Option(help="Who it is for; default: you.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=8_760, help="How long it is valid.")] = 24,
    strategy: Annotated[
        list[str] | None, typer.Option(help="Only for this strategy; may be repeated.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a token for the HTTP interface."""
    import getpass
    import re

    from serve_app.auth import Role
    from serve_app.schemas import NAME, NAME_IN_WORDS

    if role.upper() not in Role.__members__:
        raise Failure(f"--role {role} is not one of: viewer, trader, risk, admin")
    holder = getpass.getuser() if name is None else name
    if not holder.strip() or not holder.isprintable() or len(holder) > 64:
        raise Failure("--name takes 1..64 printable characters")
    if not all(re.fullmatch(NAME, each) for each in strategy or []):
        raise Failure(f"--strategy takes {NAME_IN_WORDS}")
    text = mint(
        session_of(context).settings(), holder, Role[role.upper()], hours * 3_600, strategy or None
    )
    answer = {"token": text, "name": holder, "role": role.lower(), "hours": hours}
    show(answer, as_json, lambda: typer.echo(text))


def _print_endpoints(endpoints: dict[str, Any]) -> None:
    chains = {f"chain {name}": url for name, url in endpoints.get("chains", {}).items()}
    shown = {name: endpoints.get(name) for name in ("api", "stream", "metrics")}
    docs = {"description": f"{endpoints['api']}/docs"} if endpoints.get("api") else {}
    facts({**shown, **docs, **chains, "pid": endpoints.get("pid")})


def _outline(answer: dict[str, Any]) -> dict[str, Any]:
    return {"state folder": answer.get("state_dir"), "last said": answer.get("progress")}


def _print_status(answer: dict[str, Any]) -> None:
    health = answer["health"]
    endpoint = answer.get("endpoints", {}).get("api")
    waiting = ", ".join(f"{count} {state}" for state, count in answer["open_intents"].items())
    facts({"state": health["state"], "api": endpoint, "pid": answer.get("pid"), "open": waiting})
    if answer["halts"]:
        typer.secho(loudly(answer["halts"]), fg=typer.colors.RED, bold=True)
        print_halts(answer["halts"])
    table(
        ("service", "state", "detail"),
        (
            (name, service["state"], service["detail"])
            for name, service in health["services"].items()
        ),
    )
    if answer["strategies"]:
        table(
            ("strategy", "state", "source", "detail"),
            (
                (each["id"], each["state"], each["source"], each["detail"])
                for each in answer["strategies"]
            ),
        )
