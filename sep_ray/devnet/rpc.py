"""A tiny JSON-RPC client for local chains: one kept-alive connection, no retries."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from eth_abi.abi import decode, encode

from sep_ray.adapters.evm.abi import selector, types_of
from sep_ray.kernel.errors import Rejected, Transient

RECEIPT_WAIT_S: Final = 30.0
GAS: Final = 12_000_000
"""Gas limit of set-up transactions: above the dearest deployment (5.5 M)."""


def call_data(signature: str, *arguments: Any) -> str:
    """Encode a call; the argument types are read from the signature."""
    return "0x" + (selector(signature) + encode_arguments(signature, arguments)).hex()


def encode_arguments(signature: str, arguments: Sequence[Any]) -> bytes:
    """ABI-encode arguments after the types between the outer parentheses of a signature."""
    return bytes(encode(types_of(signature), arguments))


class RpcRefused(Rejected):
    """The node answered with an error; facts carry its code, message and data."""


class Rpc:
    """Calls to one local node. Safe to share between threads: one request at a time."""

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        self.url = url
        self._lock = threading.Lock()
        self._connection = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s
        )

    def close(self) -> None:
        """Drop the connection; the next call opens a new one."""
        with self._lock:
            self._connection.close()

    def __call__(self, method: str, *params: Any) -> Any:
        """Return the result. Raises RpcRefused for an error reply, Transient if unreachable."""
        answer = self._post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return _result(answer, method)

    def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Send many calls in one request; results in the order of the calls."""
        if not calls:
            return []
        body = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
            for n, (method, params) in enumerate(calls)
        ]
        answers = {answer["id"]: answer for answer in self._post(body)}
        return [_result(answers[n], method) for n, (method, _) in enumerate(calls)]

    def _post(self, body: Any) -> Any:
        try:
            with self._lock:
                return self._exchange(json.dumps(body).encode())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise Transient("local chain does not answer", url=self.url, why=repr(error)) from None

    def _exchange(self, body: bytes) -> Any:
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        return json.loads(self._connection.getresponse().read())

    def read(self, to: str, signature: str, *arguments: Any, returns: str = "(uint256)") -> Any:
        """Call a view at the latest block; one value alone, several as a tuple."""
        call = {"to": to, "data": call_data(signature, *arguments)}
        values = decode(types_of(returns), bytes.fromhex(self("eth_call", call, "latest")[2:]))
        return values[0] if len(values) == 1 else values

    def transact(self, transactions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send unsigned transactions of impersonated senders and return their receipts.

        Mines by itself where the chain would not at once. Raises Rejected if any reverted.
        """
        filled = [{"gas": hex(GAS), **transaction} for transaction in transactions]
        # one by one: the node works a batch off in parallel and gives two of it the same nonce
        hashes = [self("eth_sendTransaction", each) for each in filled]
        automine = self("anvil_getAutomine")
        receipts = [self.receipt(each, mine=not automine) for each in hashes]
        for transaction, receipt in zip(filled, receipts, strict=True):
            if receipt["status"] != "0x1":
                called = {key: str(transaction.get(key))[:42] for key in ("to", "data")}
                raise Rejected(
                    "set-up transaction reverted", why=self._reason(transaction), **called
                )
        return receipts

    def receipt(self, tx_hash: str, *, mine: bool = False) -> dict[str, Any]:
        """Wait for a receipt (automine answers before it exists); with `mine`, mine towards it."""
        deadline = time.monotonic() + RECEIPT_WAIT_S
        while time.monotonic() < deadline:
            found: dict[str, Any] | None = self("eth_getTransactionReceipt", tx_hash)
            if found is not None:
                return found
            if mine:
                self("evm_mine")
            else:
                time.sleep(0.001)
        raise Transient("transaction was not mined", tx_hash=tx_hash)

    def _reason(self, transaction: dict[str, Any]) -> str:
        try:
            self("eth_call", transaction, "latest")
        except RpcRefused as error:
            return str(error)
        return "unknown: the same call passes now"


def _result(answer: dict[str, Any], method: str) -> Any:
    if "error" in answer:
        error = answer["error"]
        raise RpcRefused(
            "node refused the call",
            method=method,
            code=error.get("code"),
            text=error.get("message"),
            data=error.get("data"),
        )
    return answer["result"]
