"""What the journal and the chains say, read without the platform's help."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from sep_ray.devnet.rpc import Rpc
from sep_ray.kernel.errors import SepError

TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)")."""
ENDED: Final = frozenset(
    {"COMPLETED", "PARTIALLY_COMPLETED", "CANCELLED", "EXPIRED", "REJECTED", "FAILED"}
)
ENDS: Final = (
    "IntentCompleted",
    "IntentPartiallyCompleted",
    "IntentCancelled",
    "IntentExpired",
    "IntentRejected",
    "IntentFailed",
)
ON_CHAIN: Final = frozenset({"INCLUDED", "FINAL"})


class Books:
    """Reads the database directly, on one connection; None while it cannot be asked.

    Use it from one thread.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._runner = asyncio.Runner()
        self._connection: Any = None

    def close(self) -> None:
        """Disconnect."""
        self._runner.run(self._drop())
        self._runner.close()

    def newest(self) -> int | None:
        """Return the seq of the newest event."""
        found = self._ask("SELECT coalesce(max(seq), 0) AS n FROM events")
        return int(found[0]["n"]) if found is not None else None

    def chains_since(self, seq: int, kind: str) -> frozenset[int]:
        """Return the chains about whose attempts something of this kind (LIKE) was written."""
        found = self._ask(
            "SELECT DISTINCT a.chain_id FROM events e"
            " JOIN attempts a ON e.stream_id = 'attempt/' || a.id"
            " WHERE e.seq > $1 AND e.aggregate = 'attempt' AND e.kind LIKE $2",
            seq,
            kind,
        )
        return frozenset(int(row["chain_id"]) for row in found or ())

    def happened_since(self, seq: int, kind: str) -> bool:
        """Whether an event of this kind was written after."""
        found = self._ask("SELECT 1 FROM events WHERE seq > $1 AND kind = $2 LIMIT 1", seq, kind)
        return bool(found)

    def lanes(self, pid: int) -> Mapping[str, int]:
        """Return the leases of lanes that a process was the last to hold, with their chains."""
        found = self._ask(
            "SELECT name, split_part(name, '/', 2)::bigint AS chain_id FROM leases"
            " WHERE name LIKE 'lane/%' AND holder LIKE '%/' || $1",
            str(pid),
        )
        return {row["name"]: int(row["chain_id"]) for row in found or ()}

    def leader(self, name: str) -> int | None:
        """Return the process that holds a lease now."""
        query = "SELECT holder FROM leases WHERE name = $1 AND expires_at > now()"
        found = self._ask(query, name)
        return int(found[0]["holder"].rpartition("/")[2]) if found else None

    def saved(self) -> int:
        """Return how often strategies have saved their state; 0 while nobody can tell."""
        found = self._ask("SELECT coalesce(sum(version), 0) AS n FROM strategy_states")
        return int(found[0]["n"]) if found else 0

    def account(self) -> str | None:
        """Return an account that sends, if one has."""
        found = self._ask("SELECT account FROM attempts ORDER BY account LIMIT 1")
        return str(found[0]["account"]) if found else None

    def statuses(self, intent_ids: Iterable[str]) -> Mapping[str, str]:
        """Return how these intents stand."""
        wanted = list(intent_ids)
        found = self._ask("SELECT id, status FROM intents WHERE id = ANY($1::uuid[])", wanted)
        return {str(row["id"]): row["status"] for row in found or ()}

    def ends(self) -> Counter[str]:
        """Return how many ends each intent has that were not taken back."""
        found = self._ask(
            "SELECT split_part(stream_id, '/', 2) AS id, sum(CASE WHEN kind = 'IntentReopened'"
            " THEN -1 ELSE 1 END) AS n FROM events WHERE aggregate = 'intent'"
            " AND (kind = ANY($1) OR kind = 'IntentReopened') GROUP BY 1",
            list(ENDS),
        )
        return Counter({row["id"]: int(row["n"]) for row in found or ()})

    def kinds(self) -> Mapping[str, int]:
        """Return how many events of each kind were written: what a run has made happen."""
        found = self._ask("SELECT kind, count(*) AS n FROM events GROUP BY kind ORDER BY kind")
        return {row["kind"]: int(row["n"]) for row in found or ()}

    def attempts(self) -> list[dict[str, Any]]:
        """Return every attempt: id, step, chain, account, nonce, status, hashes, purpose."""
        found = self._ask(
            "SELECT id, step_id, chain_id, account, nonce, status, hashes,"
            " body->>'purpose' AS purpose FROM attempts ORDER BY chain_id, account, nonce"
        )
        return [dict(row) for row in found or ()]

    def _ask(self, query: str, *arguments: object) -> list[Any] | None:
        async def asked() -> list[Any]:
            if self._connection is None:
                self._connection = await asyncpg.connect(self.url, timeout=5)
            return list(await self._connection.fetch(query, *arguments, timeout=5))

        try:
            return self._runner.run(asked())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            self._runner.run(self._drop())
            return None

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


@dataclass(slots=True)
class Findings:
    """What journal and chains disagree about; `swaps` were found on the chains."""

    swaps: int = 0
    duplicates: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


def compare(attempts: list[dict[str, Any]], urls: Mapping[int, str]) -> Findings:
    """Hold every transfer that left our accounts against the journal: one attempt, one step."""
    findings = Findings()
    by_hash = {tx_hash: a for a in attempts for tx_hash in a["hashes"]}
    steps: Counter[Any] = Counter()
    for chain_id, url in urls.items():
        accounts = {a["account"] for a in attempts if a["chain_id"] == chain_id}
        for account in sorted(accounts):
            for tx_hash in sorted(_sent(url, account)):
                attempt = by_hash.get(tx_hash)
                findings.swaps += 1
                if attempt is None or attempt["status"] not in ON_CHAIN:
                    findings.duplicates.append(f"{chain_id} {tx_hash}: on the chain, not booked")
                elif attempt["purpose"] == "swap":
                    steps[attempt["step_id"]] += 1
            findings.gaps += _gaps(url, chain_id, account, attempts)
    findings.duplicates += [f"step {step}: {n} swaps" for step, n in steps.items() if n > 1]
    return findings


def _gaps(url: str, chain_id: int, account: str, attempts: list[dict[str, Any]]) -> list[str]:
    """Return nonces without exactly one attempt."""
    used = int(_rpc(url, "eth_getTransactionCount", account, "latest"), 16)
    held = Counter(
        a["nonce"]
        for a in attempts
        if (a["chain_id"], a["account"]) == (chain_id, account) and a["status"] != "EXPIRED"
    )
    wrong = sorted(set(range(used)) ^ set(held)) + sorted(n for n in held if held[n] > 1)
    return [f"{chain_id} {account} nonce {nonce}" for nonce in wrong]


def _sent(url: str, account: str) -> set[str]:
    padded = "0x" + account.removeprefix("0x").rjust(64, "0")
    where = {"fromBlock": "0x0", "toBlock": "latest", "topics": [TRANSFER, padded]}
    return {entry["transactionHash"] for entry in _rpc(url, "eth_getLogs", where)}


def _rpc(url: str, method: str, *params: Any) -> Any:
    rpc = Rpc(url)
    try:
        return rpc(method, *params)
    except SepError as error:
        raise TimeoutError(f"the chain does not answer {method}: {error}") from None
    finally:
        rpc.close()
