"""The attester of the burn-and-mint bridge, with Circle's API, and a stranger who mints.

A burn is attested `fast_s` after it for a fee if it asked for no more than that, `standard_s`
after it otherwise. A fast attestation lapses after `valid_blocks` of the target chain and is
signed again when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from coincurve import PrivateKey
from eth_utils.crypto import keccak

from sep_ray.adapters.bridges.addresses import CCTP
from sep_ray.adapters.bridges.cctp import FAST, MESSAGE_SENT, STANDARD
from sep_ray.adapters.bridges.reading import Log
from sep_ray.devnet.bridges.accounts import ATTESTERS, STRANGER, secret, signer
from sep_ray.devnet.bridges.local import LocalChain
from sep_ray.kernel.units import ChainId

BPS: Final = 10_000
_BODY: Final = 148


@dataclass(slots=True)
class AttesterKnobs:
    """How it behaves; may be turned while it works.

    `attests`: False leaves everything pending; `strangers_mint`: a third party mints what is
    attested; `valid_blocks` 0: an attestation never lapses; `resigns`: lapsed ones are renewed.
    """

    attests: bool = True
    fast_s: int = 2
    standard_s: int = 60
    fast_bps: int = 1
    valid_blocks: int = 1_000
    resigns: bool = True
    strangers_mint: bool = False


@dataclass(frozen=True, slots=True)
class _Burn:
    sent: bytes
    nonce: bytes
    age_s: int
    target: LocalChain


class Attester:
    """Attests burns on the local chains. Forgets, when restarted, only until when a signature held:
    it signs anew then, as it would when asked."""

    def __init__(
        self, chains: Mapping[ChainId, LocalChain], knobs: AttesterKnobs | None = None
    ) -> None:
        self.knobs = knobs or AttesterKnobs()
        self._chains = chains
        self._domains = {book.domain: chains[chain_id] for chain_id, book in CCTP.items()}
        names = sorted(ATTESTERS, key=signer)  # the contract wants signers in rising order
        self._keys = [PrivateKey(secret(name)) for name in names]
        self._until: dict[bytes, int] = {}

    def step(self) -> None:
        """Mint as a stranger, if one does; attesting itself happens when it is asked for."""
        if not (self.knobs.strangers_mint and self.knobs.attests):
            return
        for domain, chain in self._domains.items():
            for burn in self._burns(domain, chain.logs(_transmitter(chain), [MESSAGE_SENT.topic])):
                signed = self._attest(burn)
                if signed is not None:
                    transmitter = _transmitter(burn.target)
                    burn.target.act(STRANGER, transmitter, "receiveMessage(bytes,bytes)", *signed)

    def messages(self, domain: int, tx_hash: str) -> dict[str, Any] | None:
        """Answer GET /v2/messages/{domain}?transactionHash=...; None: not seen yet (404)."""
        chain = self._domains.get(domain)
        receipt = chain.rpc("eth_getTransactionReceipt", tx_hash) if chain is not None else None
        if chain is None or not receipt:
            return None
        logs = MESSAGE_SENT.found_in(chain.logs_of(tx_hash), _transmitter(chain))
        return {"messages": [self._said(burn) for burn in self._burns(domain, logs)]}

    def fees(self) -> list[dict[str, int]]:
        """Answer GET /v2/burn/USDC/fees/{source}/{target}: basis points by threshold."""
        return [
            {"finalityThreshold": FAST, "minimumFee": self.knobs.fast_bps},
            {"finalityThreshold": STANDARD, "minimumFee": 0},
        ]

    def reattest(self, nonce: str) -> dict[str, str]:
        """Answer POST /v2/reattest/{nonce}."""
        if self.knobs.resigns:
            self._until.pop(bytes.fromhex(nonce.removeprefix("0x")), None)
        return {"nonce": nonce, "message": "Re-attestation successfully requested."}

    def _burns(self, domain: int, logs: list[Log]) -> list[_Burn]:
        chain = self._domains[domain]
        now, found = chain.now(), []
        for log in logs:
            (sent,) = log.values(MESSAGE_SENT.data)
            place = f"{domain}/{log.tx_hash}/{log.index}"
            target = self._domains[int.from_bytes(sent[8:12], "big")]
            age = now - chain.time_of(log.block_number)
            found.append(_Burn(sent, bytes(keccak(text=place)), age, target))
        return found

    def _said(self, burn: _Burn) -> dict[str, Any]:
        signed = self._attest(burn) if self.knobs.attests else None
        if signed is None:
            pending = {"attestation": "PENDING", "message": "0x", "status": "pending_confirmations"}
            return {**pending, "eventNonce": "0x" + burn.nonce.hex(), "cctpVersion": 2}
        message, attestation = signed
        return {
            "attestation": "0x" + attestation.hex(),
            "message": "0x" + message.hex(),
            "eventNonce": "0x" + burn.nonce.hex(),
            "cctpVersion": 2,
            "status": "complete",
        }

    def _attest(self, burn: _Burn) -> tuple[bytes, bytes] | None:
        """Fill in nonce, threshold, fee and expiration, and sign; None while it is too early."""
        asked = int.from_bytes(burn.sent[140:144], "big")
        amount = int.from_bytes(burn.sent[_BODY + 68 : _BODY + 100], "big")
        most = int.from_bytes(burn.sent[_BODY + 132 : _BODY + 164], "big")
        fee = -(-amount * self.knobs.fast_bps // BPS)
        fast = asked <= FAST and fee <= most  # too low a fee makes it wait like any other
        if burn.age_s < (self.knobs.fast_s if fast else self.knobs.standard_s):
            return None
        message = bytearray(burn.sent)
        message[12:44] = burn.nonce
        message[144:148] = (FAST if fast else STANDARD).to_bytes(4, "big")
        message[_BODY + 164 : _BODY + 196] = (fee if fast else 0).to_bytes(32, "big")
        message[_BODY + 196 : _BODY + 228] = self._expiration(burn, fast).to_bytes(32, "big")
        digest = keccak(bytes(message))
        signatures = [key.sign_recoverable(digest, hasher=None) for key in self._keys]
        attestation = b"".join(each[:64] + bytes([each[64] + 27]) for each in signatures)
        return bytes(message), attestation

    def _expiration(self, burn: _Burn, fast: bool) -> int:
        if not fast or not self.knobs.valid_blocks:
            return 0
        if burn.nonce not in self._until:
            self._until[burn.nonce] = burn.target.head()[0] + self.knobs.valid_blocks
        return self._until[burn.nonce]


def _transmitter(chain: LocalChain) -> str:
    return CCTP[chain.chain_id].transmitter
