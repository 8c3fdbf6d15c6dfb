"""A plan as text, for the journal: why these pools, at what limit, instead of what (P14)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sep_ray.intent.intent import Side
from sep_ray.kernel.units import Asset, Ppm
from sep_ray.routing.plan import Hop, Leg, Path, Plan, Route
from sep_ray.routing.pools.pool import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSwap:
    """What of a plan went into the signed bytes: the legs with their amounts, and the limit."""

    sell: Asset
    buy: Asset
    side: Side
    limit: int
    route: Route


def plan_text(plan: Plan) -> str:
    """Write a plan as JSON. Amounts and prices are decimal strings, so that every reader keeps
    them exact; block numbers, gas and ppm are numbers."""
    return json.dumps(_written(plan), separators=(",", ":"))


def signed_swap(text: str) -> SignedSwap | None:
    """Read from a plan's text what was signed; None for a text that is no swap's plan."""
    try:
        said = json.loads(text)
        legs = [
            Leg(path=Path(hops=tuple(map(_read_hop, leg["hops"]))), share_ppm=Ppm(leg["share_ppm"]))
            for leg in said["legs"]
        ]
        return SignedSwap(
            sell=Asset.parse(said["sell"]),
            buy=Asset.parse(said["buy"]),
            side=Side(said["side"]),
            limit=int(said["limit"]),
            route=Route(legs=tuple(legs)),
        )
    except (ValueError, LookupError, TypeError):
        return None


def _written(plan: Plan) -> dict[str, Any]:
    return {
        "sell": str(plan.sell),
        "buy": str(plan.buy),
        "side": plan.side.value,
        "amount_in": str(plan.amount_in),
        "amount_out": str(plan.amount_out),
        "limit": str(plan.limit),
        "deadline_s": plan.deadline_s,
        "block_number": plan.block_number,
        "block_hash": plan.block_hash,
        "legs": [
            {"share_ppm": leg.share_ppm, "hops": [_hop(hop) for hop in leg.path.hops]}
            for leg in plan.route.legs
        ],
        "gas_estimate": plan.gas_estimate,
        "gas_price_wei": str(plan.gas_price_wei),
        "gas_cost": None if plan.gas_cost is None else str(plan.gas_cost),
        "slippage_ppm": plan.slippage_ppm,
        "inclusion_blocks": plan.inclusion_blocks,
        "net": str(plan.net),
        "net_predicted": str(plan.net_predicted),
        "estimated_by": plan.estimated_by,
        "mid": [str(plan.mid[0]), str(plan.mid[1])],
        "impact_ppm": plan.impact_ppm,
        "fee_ppm": plan.fee_ppm,
        "bound": None if plan.bound is None else str(plan.bound),
        "gap_ppm": plan.gap_ppm,
        "reference": _reference(plan),
        "considered": plan.considered,
        "alternatives": [
            {
                "pools": list(other.pools),
                "amount_in": str(other.amount_in),
                "amount_out": str(other.amount_out),
                "net": str(other.net),
                "lost": other.lost.value,
            }
            for other in plan.alternatives
        ],
    }


def _reference(plan: Plan) -> dict[str, Any] | None:
    if plan.reference is None:
        return None
    source, (numerator, denominator), off_ppm = plan.reference
    return {"source": source, "price": [str(numerator), str(denominator)], "off_ppm": off_ppm}


def _hop(hop: Hop) -> dict[str, Any]:
    return {
        "pool": hop.pool,
        "venue": hop.venue.value,
        "fee_ppm": hop.fee_ppm,
        "token_in": hop.token_in,
        "token_out": hop.token_out,
        "amount_in": str(hop.amount_in),
        "amount_out": str(hop.amount_out),
        "ticks_crossed": hop.ticks_crossed,
    }


def _read_hop(said: Mapping[str, Any]) -> Hop:
    return Hop(
        pool=said["pool"],
        venue=Venue(said["venue"]),
        fee_ppm=said["fee_ppm"],
        token_in=said["token_in"],
        token_out=said["token_out"],
        amount_in=int(said["amount_in"]),
        amount_out=int(said["amount_out"]),
        ticks_crossed=said["ticks_crossed"],
    )
