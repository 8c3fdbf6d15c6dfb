"""What the pages say can be done can be done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import typer

from sep_ray.intent.intent import IntentType
from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.units import Asset, ChainId, Token
from sep_ray.settings import Settings
from sep_ray.strategy.desk import Desk
from sep_ray.strategy.market import Market, Mid, Pair, Series
from sep_ray.strategy.runner import Saved, build_runner
from sep_ray.strategy.tokens import Tokens
from serve_app.cli import app
from tools import diagrams
from tools.install import ROOT

README = ROOT / "README.md"
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "sep_ray/**/*.md", "models/*/*.md")
    for page in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """Yield the words after `program` of every command that the page shows or mentions."""
    text = page.read_text()
    shown = [
        line for kind, block in BLOCK.findall(text) if kind == "sh" for line in block.split("\n")
    ]
    mentioned = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    for command in [*shown, *mentioned]:
        words = command.split("#")[0].removeprefix("    ").split()
        if words and words[0].removeprefix(".venv/bin/") == program:
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = {word for words in commands(page, "make") for word in words if "=" not in word}
    assert {word for word in used if re.fullmatch(r"[a-z-]+", word)} <= targets


def misuse(command: Any, words: list[str]) -> str | None:
    """Tell what is wrong with the words after a command of the command line; None when nothing."""
    given = iter(words)
    for word in given:
        options = {name: p for p in command.params for name in (*p.opts, *p.secondary_opts)}
        if word.startswith("-"):
            name, _, value = word.partition("=")
            if name not in options and name != "--help":
                return f"{command.name} has no option {name}"
            if name in options and not (value or options[name].is_flag):
                next(given, None)
        elif subcommands := getattr(command, "commands", None):
            if word not in subcommands:
                return f"{command.name} has no command {word}"
            command = subcommands[word]
        elif not any(p.param_type_name == "argument" for p in command.params):
            return f"{command.name} takes no argument {word}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_exist(page: Path) -> None:
    wrong = {misuse(typer.main.get_command(app), words) for words in commands(page, "sep")}
    assert wrong <= {None}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("", None),
        ("down --json", None),
        ("intent show ID --depth 3 --json", None),
        ("intent show ID --depth=3", None),
        ("intent buy", "intent has no command buy"),
        ("intent show --deep 3", "show has no option --deep"),
        ("down ID", "down takes no argument ID"),
        ("up", "root has no command up"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: str, wrong: str | None) -> None:
    root, intent = typer.Typer(name="root"), typer.Typer(name="intent")
    root.add_typer(intent)

    @root.command()
    def down(json: bool = False) -> None: ...

    @intent.command()
    def show(intent_id: str, depth: int = 1, json: bool = False) -> None: ...

    @intent.command("list")
    def list_all() -> None: ...

    assert misuse(typer.main.get_command(root), line.split()) == wrong


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_settings_exist(page: Path) -> None:
    known = {f"SEP_{name.upper()}" for name in Settings.model_fields}
    known |= {"SEP_DATA_DIR", "SEP_URL", "SEP_TOKEN", "SEP_CRASH_POINTS"}
    assert set(re.findall(r"\bSEP_[A-Z_]+\b", page.read_text())) <= known


def test_the_readmes_strategy_works(tmp_path: Path) -> None:
    source = next(block for kind, block in BLOCK.findall(README.read_text()) if kind == "python")
    (tmp_path / "dip.py").write_text(source)
    spec = spec_from_file_location("dip", tmp_path / "dip.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    weth, usdc = (Asset(ChainId(1), f"0x{digit:040x}") for digit in (1, 2))
    tokens = Tokens([Token(weth, "WETH", 18), Token(usdc, "USDC", 6)])
    desk = Desk(strategy_id="dip", clock=ManualClock(Millis(0)), tokens=tokens)
    params = '{"base": "1/WETH", "quote": "1/USDC"}'
    runner = build_runner(module.BuyTheDip, params, desk, Saved(), run=1)
    series = Series(Pair(weth, usdc), keep=64)
    for block, dollars in enumerate((3000, 2990, 2960)):
        series.extend([Mid(block, Millis(block), dollars * 10**6, 10**18)])
        market = Market(
            chain_id=weth.chain_id,
            block_number=block,
            at=Millis(block),
            series={series.pair: series},
            tokens=tokens,
        )
        runner.block(market, muted=False)
    (intent,) = desk.outbox
    assert (intent.type, intent.buy, intent.amount) == (IntentType.ACQUIRE, weth, 250 * 10**6)
    assert runner.strategy.state.dips == 1


def test_folders_of_the_readme_exist() -> None:
    rows = re.findall(r"^\| `(\w+/)` \|", README.read_text(), re.M)
    assert rows
    assert [row for row in rows if not (ROOT / row).is_dir()] == []


def test_drawings_are_those_of_the_tables() -> None:
    assert diagrams.PAGE.read_text() == diagrams.page(), "run `make docs`"
