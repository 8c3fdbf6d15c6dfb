"""A market written down: the snapshot format that `sep route` reads.

    {"chain_id": 1, "block": 24407242, "base_fee_wei": "1000000000",
     "tokens": [{"address": "0x..", "symbol": "WETH", "decimals": 18}, ...],
     "pools": [
       {"kind": "v2", "address", "token0", "token1", "reserve0", "reserve1", "fee_bps": 30},
       {"kind": "v3", "address", "token0", "token1", "fee": 3000, "tick_spacing": 60,
        "sqrt_price_x96", "tick", "liquidity", "ticks": [[tick, net, gross], ...]},
       {"kind": "v4", ... as v3; "address" is the pool's id (32 bytes), address zero the coin}]}

Integers may be numbers or decimal strings; big ones should be strings. `fee` is in ppm. Optional:
`wrapped_native` (an address; else the token called WETH, or what the chain calls it) to price gas,
and a token's `transfer_fee_bps`: tokens that keep a part of what is moved are never routed. A list
of ticks whose net liquidity does not add up is taken as a part: nothing is quoted beyond it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sep_ray.kernel.errors import InvariantBroken, Rejected
from sep_ray.kernel.units import MAX_UINT256, Asset, ChainId, Token
from sep_ray.routing.pools.pool import Pool
from sep_ray.routing.pools.ticks import TickMap, word_of
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.pools.v3 import V3Pool
from sep_ray.routing.pools.v4 import NO_HOOKS, V4Pool
from sep_ray.routing.snapshot import Snapshot

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_POOL: Final = re.compile(r"0x([0-9a-fA-F]{40}|[0-9a-fA-F]{64})")
_INTEGER: Final = re.compile(r"-?[0-9]{1,78}")
_COINS: Final = {56: "WBNB", 100: "WXDAI", 137: "WPOL", 43114: "WAVAX"}
MOST_DECIMALS: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """What a file says, and its tokens by name."""

    snapshot: Snapshot

    def token(self, name: str) -> Token:
        """Return the token of a symbol or an address; Rejected when there is none, or several."""
        tokens = self.snapshot.tokens
        if _ADDRESS.fullmatch(name):
            found = [token for token in tokens if token.asset.address == name.lower()]
        else:
            found = [token for token in tokens if token.symbol == name]
            found = found or [t for t in tokens if t.symbol.lower() == name.lower()]
        if len(found) == 1:
            return found[0]
        if found:
            raise Rejected(f"{name}: {len(found)} tokens have this symbol; give the address")
        raise Rejected(f"{name[:80]}: the snapshot has no such token")


class Fields:
    """An object of the file, read field by field; every error names the field's path."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise Rejected(f"{path or 'the file'}: expected an object, got {_kind(value)}")
        self._value: Mapping[str, Any] = value
        self._path = f"{path}." if path else ""

    def path(self, name: str) -> str:
        """Return a field's path."""
        return self._path + name

    def has(self, name: str) -> bool:
        """Whether a field is given and not null."""
        return self._value.get(name) is not None

    def raw(self, name: str) -> object:
        """Return a field that must be there."""
        if name not in self._value:
            raise Rejected(f"{self.path(name)}: missing")
        return self._value[name]

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an integer, given as a number or a decimal string, within low..high."""
        return integer(self.raw(name), self.path(name), low, high)

    def text(self, name: str) -> str:
        """Return a string of 1 to 80 characters."""
        value = self.raw(name)
        if not isinstance(value, str) or not 1 <= len(value) <= 80:
            raise Rejected(f"{self.path(name)}: expected a string of 1 to 80 characters")
        return value

    def address(self, name: str, pattern: re.Pattern[str] = _ADDRESS) -> str:
        """Return an address in lower case."""
        value = self.raw(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Rejected(f"{self.path(name)}: not an address: {str(value)[:80]}")
        return value.lower()

    def items(self, name: str) -> Sequence[object]:
        """Return a list."""
        value = self.raw(name)
        if not isinstance(value, list):
            raise Rejected(f"{self.path(name)}: expected a list, got {_kind(value)}")
        return value


def integer(value: object, path: str, low: int, high: int) -> int:
    """Return an integer, given as a number or a decimal string; Rejected names `path`."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Rejected(f"{path}: expected an integer or a decimal string, got {_kind(value)}")
    if not low <= value <= high:
        raise Rejected(f"{path}: {str(value)[:90]} is outside {low}..{high}")
    return value


def read_snapshot(text: str) -> SnapshotFile:
    """Return the market that a file's text describes; Rejected names the field that is wrong."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"not JSON: {error}") from None
    top = Fields(value, "")
    chain_id = ChainId(top.integer("chain_id", 1, 2**63 - 1))
    block = top.integer("block", 0, 2**63 - 1)
    base_fee = top.integer("base_fee_wei", 0, 2**128)
    tokens, taxed = _tokens(top, chain_id)
    known = {token.asset.address for token in tokens}
    pools: dict[str, Pool] = {}
    for place, item in enumerate(top.items("pools")):
        pool = _pool(Fields(item, f"pools[{place}]"), known)
        if pool.address in pools:
            raise Rejected(f"pools[{place}].address: {pool.address} is listed twice")
        pools[pool.address] = pool
    snapshot = Snapshot(
        chain_id=chain_id,
        block_number=block,
        block_hash="",
        block_time_s=0,
        base_fee_wei=base_fee,
        pools=tuple(p for p in pools.values() if not {p.token0, p.token1} & taxed),
        tokens=tokens,
        wrapped_native=_wrapped_native(top, chain_id, tokens),
        taxed=tuple(sorted(taxed)),
    )
    return SnapshotFile(snapshot=snapshot)


def write_snapshot(snapshot: Snapshot) -> str:
    """Return a snapshot as a file's text; gross liquidity is written as the size of the net."""
    tokens = [
        {"address": t.asset.address, "symbol": t.symbol, "decimals": t.decimals}
        for t in snapshot.tokens
    ]
    written = {
        "chain_id": snapshot.chain_id,
        "block": snapshot.block_number,
        "base_fee_wei": str(snapshot.base_fee_wei),
        "tokens": tokens,
        "pools": [_written(pool) for pool in snapshot.pools],
    }
    if snapshot.wrapped_native is not None:
        written["wrapped_native"] = snapshot.wrapped_native
    return json.dumps(written, indent=1)


def _written(pool: Pool) -> dict[str, object]:
    common = {"address": pool.address, "token0": pool.token0, "token1": pool.token1}
    if isinstance(pool, V2Pool):
        reserves = {"reserve0": str(pool.reserve0), "reserve1": str(pool.reserve1)}
        return {"kind": "v2", **common, **reserves, "fee_bps": pool.fee_ppm // 100}
    if not isinstance(pool, V3Pool):
        raise InvariantBroken("no form for this pool", pool=pool.address)
    return {
        "kind": "v4" if isinstance(pool, V4Pool) else "v3",
        **common,
        "fee": pool.fee_ppm,
        "tick_spacing": pool.tick_map.spacing,
        "sqrt_price_x96": str(pool.sqrt_price),
        "tick": pool.tick,
        "liquidity": str(pool.liquidity),
        "ticks": [[at, str(net), str(abs(net))] for at, net in pool.tick_map.ticks],
    }


def _tokens(top: Fields, chain_id: ChainId) -> tuple[tuple[Token, ...], set[str]]:
    found: dict[str, Token] = {}
    taxed: set[str] = set()
    for place, item in enumerate(top.items("tokens")):
        fields = Fields(item, f"tokens[{place}]")
        address = fields.address("address")
        if address in found:
            raise Rejected(f"{fields.path('address')}: {address} is listed twice")
        decimals = fields.integer("decimals", 0, MOST_DECIMALS)
        found[address] = Token(Asset(chain_id, address), fields.text("symbol"), decimals)
        if fields.has("transfer_fee_bps") and fields.integer("transfer_fee_bps", 0, 10_000):
            taxed.add(address)
    return tuple(found.values()), taxed


def _wrapped_native(top: Fields, chain_id: int, tokens: Sequence[Token]) -> str | None:
    known = {token.asset.address for token in tokens}
    if top.has("wrapped_native"):
        address = top.address("wrapped_native")
        if address not in known:
            raise Rejected(f"wrapped_native: {address} is not among the tokens")
        return address
    name = _COINS.get(chain_id, "WETH")
    return next((token.asset.address for token in tokens if token.symbol == name), None)


def _pool(fields: Fields, known: set[str]) -> Pool:
    kind = fields.raw("kind")
    if kind not in ("v2", "v3", "v4"):
        raise Rejected(f"{fields.path('kind')}: expected v2, v3 or v4, got {str(kind)[:80]}")
    token0, token1 = fields.address("token0"), fields.address("token1")
    for name, address in (("token0", token0), ("token1", token1)):
        if address not in known:
            raise Rejected(f"{fields.path(name)}: {address} is not among the tokens")
    if not token0 < token1:
        raise Rejected(f"{fields.path('token1')}: token0 must be the lower address of the two")
    try:
        return _pair(fields, token0, token1) if kind == "v2" else _ticked(fields, token0, token1)
    except Rejected as error:
        said = str(error)
        raise Rejected(said if said.startswith(fields.path("")) else fields.path(said)) from None


def _pair(fields: Fields, token0: str, token1: str) -> Pool:
    return V2Pool(
        address=fields.address("address"),
        token0=token0,
        token1=token1,
        reserve0=fields.integer("reserve0", 0, 2**112 - 1),
        reserve1=fields.integer("reserve1", 0, 2**112 - 1),
        fee_ppm=fields.integer("fee_bps", 0, 9_999) * 100,
    )


def _ticked(fields: Fields, token0: str, token1: str) -> Pool:
    v4 = fields.raw("kind") == "v4"
    if fields.has("hooks") and fields.address("hooks") != NO_HOOKS:
        raise Rejected(f"{fields.path('hooks')}: pools with hooks are not supported")
    tick = fields.integer("tick", -887_272, 887_272)
    liquidity = fields.integer("liquidity", 0, 2**128 - 1)
    spacing = fields.integer("tick_spacing", 1, 32_767)
    form = V4Pool if v4 else V3Pool
    return form(
        address=fields.address("address", _POOL if v4 else _ADDRESS),
        token0=token0,
        token1=token1,
        fee_ppm=fields.integer("fee", 0, 999_999),
        sqrt_price=fields.integer("sqrt_price_x96", 0, MAX_UINT256),
        tick=tick,
        liquidity=liquidity,
        tick_map=_tick_map(fields, spacing, tick, liquidity),
    )


def _tick_map(fields: Fields, spacing: int, tick: int, liquidity: int) -> TickMap:
    found: dict[int, int] = {}
    for place, item in enumerate(fields.items("ticks")):
        path = fields.path(f"ticks[{place}]")
        if not isinstance(item, list) or len(item) not in (2, 3):
            raise Rejected(f"{path}: expected [tick, net, gross]")
        at = integer(item[0], f"{path}[0]", -887_272, 887_272)
        if at % spacing:
            raise Rejected(f"{path}[0]: {at} is not a multiple of the tick spacing {spacing}")
        if at in found:
            raise Rejected(f"{path}[0]: tick {at} is listed twice")
        found[at] = integer(item[1], f"{path}[1]", -(2**127), 2**127 - 1)
    ticks = tuple(sorted((at, net) for at, net in found.items()))
    active = sum(net for at, net in ticks if at <= tick)
    whole = active == liquidity and sum(found.values()) == 0
    return TickMap(spacing, ticks, None if whole else _words(ticks, spacing, tick))


def _words(ticks: Sequence[tuple[int, int]], spacing: int, tick: int) -> tuple[int, int]:
    """Return the bitmap words that a part of the ticks speaks for."""
    places = [tick, *(at for at, _ in ticks)]
    return word_of(min(places), spacing), word_of(max(places), spacing)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
