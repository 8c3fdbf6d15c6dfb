"""Loading a strategy: the class, or one line that says why not."""

from __future__ import annotations

import pytest

from sep_ray.kernel.errors import Rejected
from sep_ray.strategy import BaseStrategy
from sep_ray.strategy.load import check, describe, is_file, load_class
from tests.fixtures.strategies import TOKENS, WETH

GOOD = """
from __future__ import annotations
from dataclasses import dataclass, field
from sep_ray.kernel.units import Asset
from sep_ray.strategy import BaseStrategy, param

@dataclass(frozen=True, kw_only=True)
class Params:
    base: Asset
    quote: str = "1/USDC"
    size: int = param(5, low=1, doc="how much")

@dataclass
class State:
    seen: list[int] = field(default_factory=list)

class Mine(BaseStrategy):
    params: Params
    state: State
"""
GIVEN = '{"base": "1/WETH"}'


def test_a_class_is_loaded_from_a_files_text_once() -> None:
    first, second = load_class("mine.py:Mine", GOOD), load_class("mine.py:Mine", GOOD)
    assert first is second
    assert issubclass(first, BaseStrategy)
    assert is_file("mine.py:Mine")
    assert not is_file("momentum")


def test_a_class_is_loaded_from_a_module() -> None:
    assert load_class("sep_ray.strategy.base:BaseStrategy") is BaseStrategy


def test_its_parameters_are_described() -> None:
    assert [(p.name, p.default) for p in describe("mine.py:Mine", GOOD)] == [
        ("base", None),
        ("quote", "1/USDC"),
        ("size", "5"),
    ]
    assert check("mine.py:Mine", GOOD, GIVEN, TOKENS) is load_class("mine.py:Mine", GOOD)
    assert TOKENS.asset("1/WETH") == WETH


@pytest.mark.parametrize(
    ("source", "code", "params", "says"),
    [
        ("mine.py", GOOD, GIVEN, "is not package.module:Class"),
        ("mine.py:", GOOD, GIVEN, "is not package.module:Class"),
        (":Mine", GOOD, GIVEN, "is not package.module:Class"),
        ("nothing", "", GIVEN, "one of: momentum, rebalance"),
        ("mine.py:Yours", GOOD, GIVEN, "mine.py has no class Yours; it has Mine"),
        ("mine.py:Params", GOOD, GIVEN, "mine.py:Params is not a BaseStrategy"),
        ("mine.py:dataclass", GOOD, GIVEN, "mine.py:dataclass is not a BaseStrategy"),
        ("mine.py:Mine", "", GIVEN, "mine.py is empty"),
        ("mine.py:Mine", "x = 1\nclass Mine(:\n", GIVEN, "mine.py, line 2: invalid syntax"),
        ("mine.py:Mine", "import nowhere", GIVEN, "ModuleNotFoundError: No module named 'nowhere'"),
        ("mine.py:Mine", "1 / 0", GIVEN, "mine.py cannot be loaded: ZeroDivisionError"),
        ("no.such.module:X", "", GIVEN, "there is no module no"),
        ("mine.py:Mine", GOOD, "{", "params are not JSON"),
        ("mine.py:Mine", GOOD, "{}", "base is required (field=base, allowed=Asset)"),
        ("mine.py:Mine", GOOD, '{"base": "1/X"}', "base does not fit (field=base, "),
        (
            "mine.py:Mine",
            GOOD,
            '{"base": "1/WETH", "size": 0}',
            "size is out of range (field=size, allowed=1..)",
        ),
        ("mine.py:Mine", GOOD, '{"base": "1/WETH", "sise": 1}', "sise is unknown (field=sise, "),
        (
            "mine.py:Mine",
            GOOD.replace("seen: list[int] = field(default_factory=list)", "seen: int"),
            GIVEN,
            "cannot start: TypeError: State.__init__() missing 1 required",
        ),
        (
            "mine.py:Mine",
            GOOD.replace("default_factory=list", "default_factory=object"),
            GIVEN,
            "cannot start: Misfit: cannot be kept",
        ),
        (
            "mine.py:Mine",
            GOOD.replace("state: State", "state: dict"),
            GIVEN,
            "Mine.state must be declared as a dataclass",
        ),
        ("mine.py:Mine", GOOD, '{"base": "1/USDC"}', "a pair is two assets of one chain"),
        ("mine.py:Mine", GOOD, '{"base": "1/WETH", "quote": "1/X"}', "UnknownToken: unknown token"),
        (
            "mine.py:Mine",
            GOOD.replace("state: State", "state: Stat"),
            GIVEN,
            "Stat",
        ),
    ],
)
def test_a_bad_strategy_is_refused_in_one_line(
    source: str, code: str, params: str, says: str
) -> None:
    with pytest.raises(Rejected) as caught:
        check(source, code, params, TOKENS)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
