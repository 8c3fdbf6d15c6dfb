"""Exact amounts. Integers in smallest units inside; decimals only at the edges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import Enum
from typing import Final, NewType

from sep_ray.kernel.errors import InvariantBroken, Rejected

ChainId = NewType("ChainId", int)
Wei = NewType("Wei", int)
Gas = NewType("Gas", int)
Ppm = NewType("Ppm", int)
"""Parts per million; 1 bp = 100 ppm."""

MAX_UINT256: Final = 2**256 - 1
PPM: Final = 1_000_000
NATIVE: Final = "native"
"""The address that stands for a chain's own coin."""

_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])  # the default rounds at 28 digits
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_CAIP19 = re.compile(r"eip155:(\d{1,20})/(?:erc20:(0x[0-9a-fA-F]{40})|slip44:60)")


class Rounding(Enum):
    """The direction in which an inexact division is resolved; never implicit."""

    DOWN = "down"
    UP = "up"


def divide(numerator: int, denominator: int, rounding: Rounding) -> int:
    """Divide non-negative integers, resolving the remainder in the named direction."""
    return numerator // denominator if rounding is Rounding.DOWN else -(-numerator // denominator)


@dataclass(frozen=True, slots=True, order=True)
class Asset:
    """A token on one chain: chain id and lower-case contract address (or NATIVE)."""

    chain_id: ChainId
    address: str

    def __post_init__(self) -> None:
        if self.address != NATIVE and not _ADDRESS.fullmatch(self.address):
            raise Rejected("not a lower-case contract address", address=self.address)

    @classmethod
    def parse(cls, text: str) -> Asset:
        """Read CAIP-19 text: ``eip155:1/erc20:0x...`` or ``eip155:1/slip44:60`` (the coin)."""
        match = _CAIP19.fullmatch(text)
        if match is None:
            raise Rejected("not a CAIP-19 asset", text=text[:100])
        chain_id, address = match.groups()
        return cls(ChainId(int(chain_id)), address.lower() if address else NATIVE)

    def __str__(self) -> str:
        tail = "slip44:60" if self.address == NATIVE else f"erc20:{self.address}"
        return f"eip155:{self.chain_id}/{tail}"


@dataclass(frozen=True, slots=True)
class Token:
    """What is written about an asset: symbol and number of decimals (0..36)."""

    asset: Asset
    symbol: str
    decimals: int

    def parse(self, text: str) -> Amount:
        """Read a decimal string; more digits than the token has is an error, not a rounding."""
        try:
            scaled = Decimal(text, _EXACT).scaleb(self.decimals, context=_EXACT)
        except (InvalidOperation, Inexact):
            raise Rejected("not a decimal number", text=text[:100]) from None
        if not scaled.is_finite() or scaled.adjusted() > 80:
            raise Rejected("amount is out of range", text=text[:100])
        units = int(scaled)
        if scaled != units:
            raise Rejected("too many decimals", text=text[:100], decimals=self.decimals)
        return Amount(self.asset, units)

    def format(self, units: int) -> str:
        """Write units as an exact decimal string without trailing zeros."""
        sign, digits = ("-" if units < 0 else ""), str(abs(units)).rjust(self.decimals + 1, "0")
        whole, part = digits[: len(digits) - self.decimals], digits[len(digits) - self.decimals :]
        part = part.rstrip("0")
        return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


@dataclass(frozen=True, slots=True)
class Amount:
    """An exact amount of one asset in its smallest unit, 0..2^256-1."""

    asset: Asset
    units: int

    def __post_init__(self) -> None:
        if not 0 <= self.units <= MAX_UINT256:
            raise Rejected("amount is outside 0..2^256-1", units=self.units)

    def __add__(self, other: Amount) -> Amount:
        self._require_same_asset(other)
        return Amount(self.asset, self.units + other.units)

    def __sub__(self, other: Amount) -> Amount:
        self._require_same_asset(other)
        return Amount(self.asset, self.units - other.units)

    def scaled(self, numerator: int, denominator: int, rounding: Rounding) -> Amount:
        """Multiply by numerator/denominator; the caller says who keeps the dust."""
        return Amount(self.asset, divide(self.units * numerator, denominator, rounding))

    def _require_same_asset(self, other: Amount) -> None:
        if self.asset != other.asset:
            raise InvariantBroken("mixed assets", left=str(self.asset), right=str(other.asset))
