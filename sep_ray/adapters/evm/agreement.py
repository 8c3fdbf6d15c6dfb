"""What several endpoints say together: a call is decided when enough of them say the same.

Pure. Compared is what the platform reads of an answer, and only that is handed on: clients differ
in the rest, and what was not compared could be a lie. An endpoint that cannot answer (busy, behind,
lost) abstains; one that has nothing where others have something is behind, not a liar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sep_ray.adapters.evm.rpc import Call, passing

HEADER: Final = (
    "number",
    "hash",
    "parentHash",
    "timestamp",
    "baseFeePerGas",
    "gasUsed",
    "gasLimit",
)
LOG: Final = (
    "address",
    "topics",
    "data",
    "blockNumber",
    "blockHash",
    "transactionHash",
    "logIndex",
)
RECEIPT: Final = (
    "transactionHash",
    "transactionIndex",
    "blockNumber",
    "blockHash",
    "status",
    "gasUsed",
    "effectiveGasPrice",
    "l1Fee",
)
TRANSACTION: Final = ("hash", "from", "to", "nonce", "value", "input")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "eth_getBlockByNumber": HEADER,
    "eth_getBlockByHash": HEADER,
    "eth_getTransactionReceipt": RECEIPT,
    "eth_getLogs": LOG,
}
"""What is compared and handed on of the objects in an answer; other answers are whole."""
MONEY: Final = frozenset(
    {
        *FIELDS,
        "eth_getBalance",
        "eth_getTransactionCount",
        "eth_call",
        "eth_getCode",
        "eth_getStorageAt",
    }
)
"""Reads that credit, finalise, plan or limit: endpoints must agree. The rest may come from one."""
NEWEST: Final = frozenset({"latest", "pending", "safe", "finalized"})
SHOWN: Final = 160


def compared(method: str, answer: Any) -> Any:
    """Return an answer with what is compared of it and nothing else; None for an abstention."""
    match answer:
        case {"error": {"code": code, "message": text, **rest}}:
            if passing(code, text):
                return None
            data = rest.get("data")
            # clients word a revert differently; what it returned is the same
            words = {} if isinstance(data, str) else {"code": code}
            return {"error": {"code": 3, "message": "refused", "data": data, **words}}
        case {"result": result}:
            return {"result": _plain(method, result)}
        case _:
            return None


def _plain(method: str, result: Any) -> Any:
    fields = FIELDS.get(method)
    if fields is None or result is None:
        return _lower(result)
    if isinstance(result, list):
        return [_pruned(each, fields) for each in result]
    plain = _pruned(result, fields)
    if fields is HEADER and result.get("transactions"):
        plain["transactions"] = [_pruned(each, TRANSACTION) for each in result["transactions"]]
    if fields is RECEIPT:
        plain["logs"] = [_pruned(each, LOG) for each in result.get("logs") or []]
    return plain


def _pruned(value: Any, fields: Sequence[str]) -> Any:
    if not isinstance(value, dict):
        return _lower(value)
    return {name: _lower(value[name]) for name in fields if value.get(name) is not None}


def _lower(value: Any) -> Any:
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, list):
        return [_lower(each) for each in value]
    return value


@dataclass(slots=True)
class _Question:
    """One call, who said what about it, and who could not say anything."""

    method: str
    fixed: bool
    """Whether the block is named: else two honest endpoints may answer for different ones."""
    said: dict[str, list[str]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """How many say what most say."""
        return max(map(len, self.said.values()), default=0)

    def hear(self, voter: str, answer: Any) -> None:
        found = compared(self.method, answer)
        if found is None:
            self.silent[voter] = str(answer)[:SHOWN]
            return
        key = json.dumps(found, sort_keys=True)
        self.answers.setdefault(key, answer if "error" in found else found)
        self.said.setdefault(key, []).append(voter)


class Ballot:
    """Calls that endpoints vote on; `needed` equal answers decide a call."""

    def __init__(self, calls: Sequence[Call], needed: int) -> None:
        self._needed = needed
        self._questions = [
            _Question(method, fixed=NEWEST.isdisjoint(p for p in params if isinstance(p, str)))
            for method, params in calls
        ]

    @property
    def missing(self) -> int:
        """How many more votes the least decided call needs at the least; 0 when all are."""
        return max((self._needed - each.best for each in self._questions), default=0)

    def cast(self, voter: str, answers: Sequence[Any]) -> None:
        """Take an endpoint's answers, as it wrote them, in the calls' order."""
        for question, answer in zip(self._questions, answers, strict=True):
            question.hear(voter, answer)

    def abstain(self, voter: str, why: str) -> None:
        """Note that an endpoint gave no answer at all."""
        for question in self._questions:
            question.silent[voter] = why[:SHOWN]

    def decided(self) -> list[Any]:
        """Return the agreed answers in order; `missing` must be 0."""
        found = []
        for question in self._questions:
            key = next(k for k, voters in question.said.items() if len(voters) >= self._needed)
            found.append(question.answers[key])
        return found

    def contradictions(self) -> dict[str, str]:
        """Return who said something else than enough others, with the evidence.

        Having nothing is no contradiction, nor is having something where the others have nothing:
        that is being behind, or ahead.
        """
        caught: dict[str, str] = {}
        for question in self._questions:
            winners = [k for k, voters in question.said.items() if len(voters) >= self._needed]
            if not question.fixed or len(winners) != 1 or _empty(winners[0]):
                continue
            for key, voters in question.said.items():
                if key != winners[0] and not _empty(key):
                    evidence = _evidence(question.method, key, winners[0])
                    caught |= dict.fromkeys(voters, evidence)
        return caught

    def evidence(self) -> str:
        """Say who said what about the first call that is not decided."""
        for question in self._questions:
            if question.best < self._needed:
                place = _parting(list(question.said))
                said = [
                    f"{'+'.join(who)}: {_around(key, place)}" for key, who in question.said.items()
                ]
                silent = [f"{who}: silent ({why})" for who, why in question.silent.items()]
                return f"{question.method}: {'; '.join([*said, *silent])}"
        return ""


def _empty(key: str) -> bool:
    return key == '{"result": null}' or key.startswith('{"error"')


def _evidence(method: str, said: str, agreed: str) -> str:
    place = _parting([said, agreed])
    return f"{method}: says {_around(said, place)}, others {_around(agreed, place)}"


def _parting(keys: Sequence[str]) -> int:
    """Return where the first of several texts differs from another; 0 when none does."""
    places = [
        next((n for n, (a, b) in enumerate(zip(keys[0], other, strict=False)) if a != b), 0)
        for other in keys[1:]
    ]
    return min(places, default=0)


def _around(key: str, place: int) -> str:
    start = max(place - SHOWN // 4, 0)
    return key[start : start + SHOWN]
