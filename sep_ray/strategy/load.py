"""From a name to a strategy class, with errors of one line.

A source is "package.module:Class", or "file.py:Class" with the file's text beside it, or one of
the short names in BUILT_IN. Loading runs the text: only who may run code on the platform may
register a strategy.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Final

from sep_ray.kernel.clock import ManualClock, Millis
from sep_ray.kernel.errors import Rejected
from sep_ray.strategy.base import BaseStrategy
from sep_ray.strategy.desk import Desk
from sep_ray.strategy.plain import Parameter, parameters
from sep_ray.strategy.runner import BadParams, Saved, build_runner, declaration, read_params
from sep_ray.strategy.tokens import Tokens

BUILT_IN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "momentum": "sep_ray.strategy.momentum:MomentumStrategy",
        "rebalance": "sep_ray.strategy.rebalance:RebalanceStrategy",
    }
)
MODULE: Final = "sep_strategy_"
"""Prefix of the modules made of a file's text; the rest is the digest of name and text."""


class BadStrategy(Rejected):
    """The class cannot be loaded; the message is one line that says why."""


def full_source(source: str) -> str:
    """Return a source with a built-in's short name spelled out."""
    return BUILT_IN.get(source, source)


def is_file(source: str) -> bool:
    """Whether the source names a file, whose text must be given with it."""
    return full_source(source).partition(":")[0].endswith(".py")


def load_class(source: str, code: str = "") -> type[BaseStrategy]:
    """Return the class a source names, or raise BadStrategy."""
    origin, colon, name = full_source(source).partition(":")
    if not colon or not origin or not name.isidentifier():
        known = ", ".join(BUILT_IN)
        raise BadStrategy(
            f"{source[:100]!r} is not package.module:Class, file.py:Class or one of: {known}"
        )
    module = _from_text(origin, code) if origin.endswith(".py") else _import(origin)
    found = getattr(module, name, None)
    if found is None:
        raise BadStrategy(f"{origin} has no class {name}{_offer(module)}")
    if not (isinstance(found, type) and issubclass(found, BaseStrategy)):
        raise BadStrategy(f"{origin}:{name} is not a BaseStrategy")
    return found


def check(source: str, code: str, params: str, tokens: Tokens) -> type[BaseStrategy]:
    """Try a strategy on an empty desk before it is registered: class, parameters, declarations.

    Raises BadStrategy or BadParams, each of one line.
    """
    declared = load_class(source, code)
    read_params(declared, params, tokens.asset)
    desk = Desk(strategy_id="trial", clock=ManualClock(Millis(0)), tokens=tokens)
    try:
        build_runner(declared, params, desk, Saved(), 1).unsaved()
    except BadParams:
        raise
    except Exception as error:  # noqa: BLE001  (the users' own code may raise anything)
        raise BadStrategy(f"{declared.__name__} cannot start: {_line(error)}") from None
    return declared


def describe(source: str, code: str = "") -> tuple[Parameter, ...]:
    """Return the parameters of the class a source names."""
    return parameters(declaration(load_class(source, code), "params"))


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise BadStrategy(f"there is no module {error.name}") from None
    except SyntaxError as error:
        raise BadStrategy(_syntax(name, error)) from None
    except Exception as error:  # noqa: BLE001  (a foreign module may raise anything)
        raise BadStrategy(f"{name} cannot be imported: {_line(error)}") from None


def _from_text(file: str, code: str) -> ModuleType:
    """Make a module of a file's text; the same file is loaded once per process."""
    if not code.strip():
        raise BadStrategy(f"{file} is empty")
    name = MODULE + sha256(f"{file}\n{code}".encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    sys.modules[name] = module  # dataclasses look their module up while they are made
    try:
        exec(compile(code, file, "exec"), module.__dict__)
    except SyntaxError as error:
        del sys.modules[name]
        raise BadStrategy(_syntax(file, error)) from None
    except Exception as error:  # noqa: BLE001  (the users' own code may raise anything)
        del sys.modules[name]
        raise BadStrategy(f"{file} cannot be loaded: {_line(error)}") from None
    return module


def _syntax(file: str, error: SyntaxError) -> str:
    place = f", line {error.lineno}" if error.lineno is not None else ""
    return f"{file}{place}: {error.msg}"


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _offer(module: ModuleType) -> str:
    names = sorted(
        name
        for name, found in vars(module).items()
        if isinstance(found, type)
        and issubclass(found, BaseStrategy)
        and found.__module__ == module.__name__
    )
    return f"; it has {', '.join(names)}" if names else ""
