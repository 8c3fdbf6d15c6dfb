"""The tokens a strategy may name: by asset, by CAIP-19 text, or as chain/symbol."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from sep_ray.kernel.errors import Rejected
from sep_ray.kernel.units import Asset, ChainId, Token


class UnknownToken(Rejected):
    """Nobody told the platform about this token; facts carry what was asked for."""


class Tokens:
    """A fixed set of tokens, looked up by asset or by text."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._by_asset = {token.asset: token for token in tokens}
        self._by_symbol = {(t.asset.chain_id, t.symbol): t.asset for t in self._by_asset.values()}

    def __iter__(self) -> Iterator[Token]:
        return iter(self._by_asset.values())

    def __getitem__(self, asset: Asset) -> Token:
        """Return what is known of an asset, or raise UnknownToken."""
        try:
            return self._by_asset[asset]
        except KeyError:
            raise UnknownToken("unknown token", asset=str(asset)) from None

    def asset(self, text: str, chain_id: int | None = None) -> Asset:
        """Read ``eip155:1/erc20:0x...``, ``1/WETH``, or ``WETH`` when the chain is given.

        Raises UnknownToken, or Rejected when it is none of these.
        """
        if chain_id is not None and "/" not in text:
            text = f"{chain_id}/{text}"
        chain, slash, symbol = text.partition("/")
        if not slash or not chain.isdecimal():
            return Asset.parse(text)
        try:
            return self._by_symbol[ChainId(int(chain)), symbol]
        except KeyError:
            raise UnknownToken("unknown token", text=text[:100]) from None

    def units(self, asset: Asset, amount: int | str | Decimal) -> int:
        """Return smallest units: an int is units already, text is a decimal number of tokens."""
        if isinstance(amount, int):
            return amount
        return self[asset].parse(str(amount)).units

    def text(self, asset: Asset, units: int) -> str:
        """Write units as a decimal number of tokens with the symbol."""
        token = self[asset]
        return f"{token.format(units)} {token.symbol}"
