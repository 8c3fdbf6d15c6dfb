"""The tokens clients may name: CAIP-19 text, a symbol on a chain, or chain/symbol."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Protocol

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import MAX_UINT256, NATIVE, Asset, ChainId, Token
from serve_app.problems import Problem


class Quantity(Protocol):
    """A body that gives an amount in one of two forms."""

    @property
    def amount(self) -> str | None:
        """Whole tokens, as a decimal string."""

    @property
    def units(self) -> int | None:
        """Smallest units."""


class AssetBook:
    """The known tokens of the chains that run here."""

    def __init__(self, tokens: Iterable[Token], chains: Iterable[int]) -> None:
        self.chains: Final = tuple(sorted(chains))
        self.tokens: Final = tuple(t for t in tokens if t.asset.chain_id in self.chains)
        self._by_asset = {token.asset: token for token in self.tokens}
        self._by_text = {
            name: token
            for token in self.tokens
            for name in (str(token.asset), f"{token.asset.chain_id}/{token.symbol}")
        }

    def require_chain(self, chain_id: int) -> ChainId:
        """Return the chain, or raise an unknown_chain Problem."""
        if chain_id not in self.chains:
            raise self._unknown_chain("chain_id")
        return ChainId(chain_id)

    def named_chain(self, text: str, field: str) -> ChainId:
        """Return the chain a text names by its number, or raise an unknown_chain Problem."""
        for chain_id in self.chains:
            if text == str(chain_id):
                return ChainId(chain_id)
        raise self._unknown_chain(field)

    def find(self, text: str, chain_id: int | None, field: str, *, coin: bool = False) -> Token:
        """Return the token a text names, or raise a Problem about `field`.

        The chain's own coin cannot be traded; it is found only where `coin` says so.
        """
        token = self._by_text.get(text) or self._by_text.get(f"{chain_id}/{text}")
        if token is None:
            token = self._by_text.get(text.lower()) or self._by_symbol(text, chain_id)
        if token is None:
            raise self._unknown(text, chain_id, field)
        if token.asset.address == NATIVE and not coin:
            allowed = "a token; the coin's wrapped form is WETH"
            raise Problem.of_field(field, "is not a token", allowed, "unknown_asset")
        return token

    def token(self, asset: Asset) -> Token | None:
        """Return what is known of an asset."""
        return self._by_asset.get(asset)

    def write(self, asset: Asset, units: int) -> str | None:
        """Write units as a decimal string; None for a token that is not known."""
        token = self._by_asset.get(asset)
        return token.format(units) if token else None

    def _by_symbol(self, text: str, chain_id: int | None) -> Token | None:
        """A symbol without a chain will do where one chain only runs."""
        chain = self.chains[0] if chain_id is None and len(self.chains) == 1 else chain_id
        return self._by_text.get(f"{chain}/{text.upper()}")

    def _unknown_chain(self, field: str) -> Problem:
        allowed = ", ".join(map(str, self.chains))
        return Problem.of_field(field, "is not known", allowed, "unknown_chain")

    def _unknown(self, text: str, chain_id: int | None, field: str) -> Problem:
        if chain_id is None and ":" not in text and "/" not in text:
            allowed = f"{', '.join(map(str, self.chains))}, to say where {text[:40]} is"
            return Problem.of_field("chain_id", "is required", allowed, "missing_field")
        known = [
            token.symbol
            for token in self.tokens
            if token.asset.chain_id == chain_id and token.asset.address != NATIVE
        ]
        allowed = ", ".join(known) or "a CAIP-19 asset of a known chain"
        return Problem.of_field(field, "is not known", allowed, "unknown_asset")


def units_of(token: Token, quantity: Quantity) -> int:
    """Return the smallest units a body asks for, 1..2^256-1, or raise a Problem."""
    if quantity.amount is None:
        if quantity.units is None:
            raise Problem.of_field(
                "amount", "is required", "amount (whole tokens) or units", "missing_field"
            )
        return quantity.units
    if quantity.units is not None:
        raise Problem.of_field("units", "says the amount twice", "amount or units, not both")
    allowed = f"above 0, at most {token.decimals} decimals, below 2^256 units"
    try:
        units = token.parse(quantity.amount).units
    except Rejected as error:
        code = "too_many_decimals" if "decimals" in error.facts else "invalid_field"
        detail = "has too many decimals" if "decimals" in error.facts else "is out of range"
        raise Problem.of_field("amount", detail, allowed, code) from None
    if not 1 <= units <= MAX_UINT256:
        raise Problem.of_field("amount", "is out of range", allowed)
    return units


def ppm(share: Decimal) -> int:
    """Return a fraction of at most six decimals in parts per million."""
    return int(share.scaleb(6))
