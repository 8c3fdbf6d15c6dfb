"""The contracts of a chain without I/O: tokens, allowances, pairs and a router, exact to the unit.

Calls are JSON inside hex; signed bytes are the transaction itself with its sender, and their hash
is sha256. Nothing here is secret or secure: it is for simulations.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sep_ray.adapters.memory.bridge_contract import Reverted, run_bridge
from sep_ray.execution.attempt import Signed
from sep_ray.execution.ports import Call, Unsigned
from sep_ray.intent.intent import Side
from sep_ray.kernel.units import ChainId
from sep_ray.routing.plan import Plan
from sep_ray.routing.pools.v2 import V2Pool
from sep_ray.routing.reasons import NoRoute

ROUTER: Final = "0x" + "70" * 20
PLAIN_GAS: Final = 21_000
APPROVAL_GAS: Final = 46_000
TRANSFER_GAS: Final = 50_000
SWAP_GAS: Final = 110_000
BRIDGE_GAS: Final = 120_000
FAILED_GAS: Final = 35_000


def to_hex(value: Any) -> str:
    """Write JSON as 0x-hex, the same for the same value."""
    return "0x" + json.dumps(value, sort_keys=True, separators=(",", ":")).encode().hex()


def from_hex(text: str) -> Any:
    """Read what `to_hex` wrote."""
    return json.loads(bytes.fromhex(text[2:]))


@dataclass(frozen=True, slots=True)
class Transaction:
    """Signed bytes, read."""

    tx_hash: str
    raw: str
    sender: str
    nonce: int
    call: Call
    gas_limit: int
    max_fee_wei: int
    tip_wei: int
    chain_id: ChainId

    @classmethod
    def read(cls, raw: str) -> Transaction:
        """Read signed bytes."""
        said = from_hex(raw)
        return cls(
            tx_hash="0x" + hashlib.sha256(bytes.fromhex(raw[2:])).hexdigest(),
            raw=raw,
            sender=said["from"],
            nonce=said["nonce"],
            call=Call(to=said["to"], data=said["data"], value_wei=said["value"]),
            gas_limit=said["gas"],
            max_fee_wei=said["max_fee"],
            tip_wei=said["tip"],
            chain_id=ChainId(said["chain"]),
        )


class MemorySigner:
    """Signs for an address by naming it."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def sign(self, batch: Sequence[Unsigned]) -> tuple[Signed, ...]:
        """Write each transaction down, in order."""
        return tuple(self._sign(each) for each in batch)

    def _sign(self, tx: Unsigned) -> Signed:
        raw = to_hex(
            {
                "from": self.address,
                "chain": tx.chain_id,
                "nonce": tx.nonce,
                "to": tx.call.to,
                "data": tx.call.data,
                "value": tx.call.value_wei,
                "gas": tx.gas_limit,
                "max_fee": tx.max_fee_wei,
                "tip": tx.tip_wei,
            }
        )
        return Signed(
            raw=raw,
            tx_hash=Transaction.read(raw).tx_hash,
            max_fee_wei=tx.max_fee_wei,
            tip_wei=tx.tip_wei,
            gas_limit=tx.gas_limit,
        )


class MemoryCalls:
    """Writes calls as this chain's contracts read them."""

    mixes_venues = True

    def takers(self, router: str) -> tuple[str, ...]:
        """Return the router itself."""
        return (router,)

    def approval(self, token: str, taker: str, units: int) -> Call:
        """Allow exactly so much."""
        return Call(to=token, data=to_hex({"approve": taker, "units": units}))

    def transfer(self, token: str, target: str, units: int) -> Call:
        """Send exactly so much."""
        return Call(to=token, data=to_hex({"transfer": target, "units": units}))

    def swap(self, plan: Plan, recipient: str) -> Call:
        """Write a plan's legs; the limit holds for their sum."""
        selling = plan.side is Side.SELL
        said = {
            "swap": plan.side.value,
            "legs": [
                {
                    "pools": [[hop.pool, hop.token_in, hop.token_out] for hop in leg.path.hops],
                    "amount": leg.path.amount_in if selling else leg.path.amount_out,
                }
                for leg in plan.route.legs
            ],
            "limit": plan.limit,
            "deadline": plan.deadline_s,
            "recipient": recipient,
        }
        return Call(to=ROUTER, data=to_hex(said))

    def inside(self, raw: str) -> Call:
        """Return the call that signed bytes carry."""
        return Transaction.read(raw).call


@dataclass(slots=True)
class Contracts:
    """All state of a chain: what accounts own and allow, nonces, pairs."""

    coins: dict[str, int] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)
    owned: dict[tuple[str, str], int] = field(default_factory=dict)
    allowed: dict[tuple[str, str, str], int] = field(default_factory=dict)
    pools: dict[str, V2Pool] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    """What bridges' contracts remember: see bridge_contract.py."""

    def copy(self) -> Contracts:
        """Return an independent copy."""
        return Contracts(
            dict(self.coins),
            dict(self.nonces),
            dict(self.owned),
            dict(self.allowed),
            dict(self.pools),
            dict(self.notes),
        )

    def run(self, tx: Transaction, timestamp: int) -> tuple[int, list[tuple[str, str, str, int]]]:
        """Run a call; return its gas and transfers (token, source, target, units).

        Raises Reverted, having changed nothing.
        """
        if tx.call.data == "0x":
            self._pay_coin(tx.sender, tx.call.to, tx.call.value_wei)
            return PLAIN_GAS, []
        said = from_hex(tx.call.data)
        if "approve" in said:
            self.allowed[tx.call.to, tx.sender, said["approve"]] = said["units"]
            return APPROVAL_GAS, []
        if "transfer" in said:
            return TRANSFER_GAS, self._send(tx.call.to, tx.sender, said["transfer"], said["units"])
        if "bridge" in said:
            trial = self.copy()
            if tx.gas_limit < BRIDGE_GAS:
                raise Reverted("out of gas")
            transfers = run_bridge(trial, tx.sender, tx.tx_hash, said, timestamp)
            self.owned, self.allowed, self.notes = trial.owned, trial.allowed, trial.notes
            self._pay_coin(tx.sender, tx.call.to, tx.call.value_wei)
            return BRIDGE_GAS, transfers
        if said["deadline"] < timestamp:
            raise Reverted("Transaction too old")
        gas = SWAP_GAS * sum(len(leg["pools"]) for leg in said["legs"])
        if gas > tx.gas_limit:
            raise Reverted("out of gas")
        trial = self.copy()
        transfers = trial._swap(tx.sender, said)
        self.owned, self.allowed, self.pools = trial.owned, trial.allowed, trial.pools
        return gas, transfers

    def give(self, token: str, account: str, units: int) -> None:
        """Add to what an account owns."""
        self.owned[token, account] = self.owned.get((token, account), 0) + units

    def take(self, token: str, owner: str, spender: str, units: int) -> None:
        """Take what the spender was allowed; Reverted when it is not there."""
        allowance = self.allowed.get((token, owner, spender), 0)
        if allowance < units or self.owned.get((token, owner), 0) < units:
            raise Reverted("STF")
        self.allowed[token, owner, spender] = allowance - units
        self.give(token, owner, -units)

    def _send(
        self, token: str, source: str, target: str, units: int
    ) -> list[tuple[str, str, str, int]]:
        if self.owned.get((token, source), 0) < units:
            raise Reverted("transfer amount exceeds balance")
        self.give(token, source, -units)
        self.give(token, target, units)
        return [(token, source, target, units)]

    def _pay_coin(self, source: str, target: str, wei: int) -> None:
        self.coins[source] = self.coins.get(source, 0) - wei
        self.coins[target] = self.coins.get(target, 0) + wei

    def _swap(self, sender: str, said: dict[str, Any]) -> list[tuple[str, str, str, int]]:
        selling = said["swap"] == Side.SELL.value
        legs = [self._quoted(leg, selling=selling) for leg in said["legs"]]
        if selling and sum(hops[-1][4] for hops in legs) < said["limit"]:
            raise Reverted("Too little received")
        if not selling and sum(hops[0][3] for hops in legs) > said["limit"]:
            raise Reverted("Too much requested")
        return [moved for hops in legs for moved in self._deliver(sender, said["recipient"], hops)]

    def _quoted(
        self, leg: dict[str, Any], *, selling: bool
    ) -> Sequence[tuple[str, str, str, int, int]]:
        """Move one leg's pools; return its hops with their amounts, in order."""
        amount = leg["amount"]
        quoted: list[tuple[str, str, str, int, int]] = []
        for address, token_in, token_out in leg["pools"] if selling else leg["pools"][::-1]:
            pool = self.pools[address]
            quote = (pool.exact_in if selling else pool.exact_out)(token_in, amount)
            if isinstance(quote, NoRoute):
                raise Reverted(quote.reason.value)
            self.pools[address] = pool.moved(quote)
            amount = quote.amount_out if selling else quote.amount_in
            quoted.append((address, token_in, token_out, quote.amount_in, quote.amount_out))
        return quoted if selling else quoted[::-1]

    def _deliver(
        self, sender: str, recipient: str, hops: Sequence[tuple[str, str, str, int, int]]
    ) -> list[tuple[str, str, str, int]]:
        pool, sold, _, amount_in, _ = hops[0]
        self.take(sold, sender, ROUTER, amount_in)
        self.give(sold, sender, amount_in)
        transfers = [(sold, sender, pool, amount_in)]
        for place, (source, _, bought, _, amount_out) in enumerate(hops):
            target = recipient if place == len(hops) - 1 else hops[place + 1][0]
            transfers.append((bought, source, target, amount_out))
        for token, source, target, units in transfers:
            self.give(token, source, -units)
            self.give(token, target, units)
        return transfers
