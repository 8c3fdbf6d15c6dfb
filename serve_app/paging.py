"""Cursors that belong to one query: signed, so that nobody makes one up or reuses it elsewhere."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final
from uuid import UUID

from serve_app.problems import Problem

_SIGNATURE: Final = 16


class Cursors:
    """Makes and reads cursors under a key derived from the tokens' secret."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"cursor", "sha256")

    def write(self, last: UUID, query: str) -> str:
        """Return the cursor for what follows `last` in a query."""
        raw = last.bytes + self._signature(last.bytes, query)
        return base64.urlsafe_b64encode(raw).decode()

    def read(self, cursor: str, query: str) -> UUID:
        """Return where to go on, or raise a 400 Problem."""
        try:
            raw = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        last, signature = raw[:16], raw[16:]
        if not hmac.compare_digest(signature, self._signature(last, query)) or len(last) != 16:
            raise Problem.of_field(
                "cursor", "is not one of this query", "`next` of the page before", "invalid_cursor"
            )
        return UUID(bytes=last)

    def _signature(self, last: bytes, query: str) -> bytes:
        return hmac.digest(self._key, last + query.encode(), "sha256")[:_SIGNATURE]
