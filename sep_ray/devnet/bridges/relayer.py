"""An Across relayer: pays out what others deposited, for the fee, from its own stock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sep_ray.adapters.bridges.across import FILLED, FUNDS_DEPOSITED, RELAY, Relay
from sep_ray.adapters.bridges.addresses import SPOKE_POOLS
from sep_ray.adapters.evm.abi import address_word
from sep_ray.devnet.bridges.accounts import RELAYER
from sep_ray.devnet.bridges.local import LocalChain
from sep_ray.kernel.units import PPM, ChainId

FEE_PPM: Final = 500
_MOST: Final = 2**255


@dataclass(slots=True)
class RelayerKnobs:
    """How it behaves; may be turned while it works.

    `latency_s` from a deposit's time to the fill; `liquidity`: the most units it pays for one
    deposit; `fee_ppm`: what it asks for, and the least it works for.
    """

    latency_s: int = 2
    paused: bool = False
    liquidity: int = _MOST
    fee_ppm: int = FEE_PPM


class Relayer:
    """Fills deposits between the local chains. Another account makes a second one, its rival."""

    def __init__(
        self,
        chains: Mapping[ChainId, LocalChain],
        knobs: RelayerKnobs | None = None,
        account: str = RELAYER,
    ) -> None:
        self.knobs = knobs or RelayerKnobs()
        self.account = account
        self._chains = chains

    def step(self) -> None:
        """Fill what is due now."""
        if self.knobs.paused:
            return
        for origin in self._chains.values():
            now = origin.now()
            for log in origin.logs(SPOKE_POOLS[origin.chain_id], [FUNDS_DEPOSITED.topic]):
                asked = log.values(FUNDS_DEPOSITED.data)[4]
                if now - asked >= self.knobs.latency_s:
                    self._fill(Relay.read(log, origin.chain_id))

    def suggest(self, units: int) -> dict[str, Any]:
        """Answer /suggested-fees as Across's API does: the share in 10^18ths, and the limit."""
        share = self.knobs.fee_ppm * 10**18 // PPM
        fee = -(-units * share // 10**18)
        return {
            "totalRelayFee": {"pct": str(share), "total": str(fee)},
            "limits": {"minDeposit": "1", "maxDeposit": str(self.knobs.liquidity)},
        }

    def _fill(self, relay: Relay) -> None:
        target = self._chains.get(relay.destination)
        if target is None or not self._worth_it(relay) or target.now() > relay.fill_deadline:
            return
        pool = SPOKE_POOLS[target.chain_id]
        status = target.rpc.read(pool, "fillStatuses(bytes32)", relay.hash())
        if status == FILLED:
            return
        target.allow(self.account, relay.output_token, pool)
        target.act(
            self.account,
            pool,
            f"fillRelay({RELAY},uint256,bytes32)",
            relay.fields(),
            relay.origin,
            address_word(self.account),
        )

    def _worth_it(self, relay: Relay) -> bool:
        fee = relay.input_amount - relay.output_amount
        enough = fee * PPM >= relay.input_amount * self.knobs.fee_ppm
        return enough and relay.output_amount <= self.knobs.liquidity
