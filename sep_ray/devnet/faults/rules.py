"""Which calls go wrong, and how: rules by method, with a count or a seeded chance."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, Final

from sep_ray.kernel.errors import Rejected

MILLION: Final = 1_000_000
REMEMBERED: Final = 10_000
"""Injected faults that are kept in the log."""
HEADS: Final = "newHeads"
"""Stands for a notification of a subscription where a rule names methods."""


class Fault(StrEnum):
    """What a rule does to a call it meets."""

    DROP = "drop"  # forwarded; the connection is cut instead of an answer
    CUT = "cut"  # the connection is cut, nothing is forwarded
    FAIL = "fail"  # `status`, or a JSON-RPC error with `code` and `text`; nothing is forwarded
    ANSWER = "answer"  # `result`; nothing is forwarded
    FORGE = "forge"  # forwarded; an object in the answer gets the fields of `result`
    DELAY = "delay"  # forwarded after `delay_ms`
    SWALLOW = "swallow"  # a raw transaction: its hash is answered, nothing is forwarded, ever
    HOLD = "hold"  # a raw transaction: its hash is answered, forwarded at `release`
    LAG = "lag"  # answered as of `blocks` below the head
    LIE = "lie"  # blocks from `first_block` on have another hash


SENDS: Final = frozenset({Fault.SWALLOW, Fault.HOLD})
VIEWS: Final = frozenset({Fault.LAG, Fault.LIE, Fault.FORGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One fault. "*" means every method, "newHeads" a subscription's notifications.

    It lets `skip` matching calls pass, then meets each with a chance of `probability_ppm`, until
    it has struck `count` times (None: for ever).
    """

    fault: Fault
    methods: tuple[str, ...] = ("*",)
    count: int | None = None
    skip: int = 0
    probability_ppm: int = MILLION
    delay_ms: int = 0
    blocks: int = 0
    first_block: int = 0
    status: int | None = None
    code: int = -32_000
    text: str = "internal error"
    result: Any = None

    def __post_init__(self) -> None:
        bounds: Mapping[str, tuple[int | None, int, int]] = {
            "count": (self.count, 1, 10**9),
            "skip": (self.skip, 0, 10**9),
            "probability_ppm": (self.probability_ppm, 0, MILLION),
            "delay_ms": (self.delay_ms, 0, 600_000),
            "blocks": (self.blocks, 0, 10**6),
            "first_block": (self.first_block, 0, 2**63),
            "status": (self.status, 300, 599),
        }
        for name, (value, least, most) in bounds.items():
            if value is not None and not least <= value <= most:
                raise Rejected(f"{name} is out of range", got=value, range=f"{least}..{most}")

    def matches(self, method: str) -> bool:
        """Say whether the rule is about this method. A fault of sending is about nothing else."""
        if self.fault in SENDS and method != "eth_sendRawTransaction":
            return False
        return "*" in self.methods or method in self.methods


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault that happened to a call; `number` counts all of them."""

    number: int
    rule: int
    fault: Fault
    method: str


@dataclass(slots=True)
class Decision:
    """What happens to one call: a delay, at most one act, and the views its answer passes."""

    delay_ms: int = 0
    act: Rule | None = None
    views: list[Rule] = field(default_factory=list)


@dataclass(slots=True)
class _Standing:
    """A rule at work. Its chance draws from a stream of its own: same seed, same hits."""

    rule: Rule
    chance: Random
    seen: int = 0
    struck: int = 0

    def strikes(self) -> bool:
        rule = self.rule
        self.seen += 1
        if self.seen <= rule.skip or (rule.count is not None and self.struck >= rule.count):
            return False
        if (
            rule.probability_ppm < MILLION
            and self.chance.randrange(MILLION) >= rule.probability_ppm
        ):
            return False
        self.struck += 1
        return True


class Rules:
    """The rules in force, in the order they were added, and what they did."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._standing: dict[int, _Standing] = {}
        self._added = 0
        self._injected: deque[Injected] = deque(maxlen=REMEMBERED)
        self.counts: Counter[str] = Counter()

    def add(self, rule: Rule) -> int:
        """Put a rule in force and return its number."""
        self._added += 1
        self._standing[self._added] = _Standing(rule, Random(f"{self._seed}/{self._added}"))
        return self._added

    def remove(self, number: int) -> None:
        """Take a rule away; one that is gone already is fine."""
        self._standing.pop(number, None)

    def clear(self) -> None:
        """Take all rules away."""
        self._standing.clear()

    @property
    def in_force(self) -> Mapping[int, Rule]:
        """The rules by number."""
        return {number: standing.rule for number, standing in self._standing.items()}

    @property
    def injected(self) -> Sequence[Injected]:
        """The newest faults that happened, oldest first."""
        return tuple(self._injected)

    def decide(self, method: str) -> Decision:
        """Meet a call: delays add up, views add up, the first other rule that strikes acts."""
        found = Decision()
        for number, standing in self._standing.items():
            rule = standing.rule
            acts = rule.fault not in VIEWS and rule.fault is not Fault.DELAY
            if not rule.matches(method) or (acts and found.act) or not standing.strikes():
                continue
            self._note(number, rule, method)
            if rule.fault is Fault.DELAY:
                found.delay_ms += rule.delay_ms
            elif rule.fault in VIEWS:
                found.views.append(rule)
            else:
                found.act = rule
        return found

    def _note(self, number: int, rule: Rule, method: str) -> None:
        total = self.counts.total() + 1
        self.counts[rule.fault] += 1
        self._injected.append(Injected(number=total, rule=number, fault=rule.fault, method=method))
