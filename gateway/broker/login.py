"""Who may connect: user names and argon2 hashes from the configuration.

A check runs in a thread, few at a time, because it costs tens of milliseconds by intention. An unknown name costs as
much as a known one. A login that succeeded is remembered by a keyed digest for as long as the process lives, so that
a fleet that reconnects after a power cut is not held up.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import argon2

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 9106 section 4 lets memory be traded for passes; 9 MiB and 4 passes is OWASP's setting for small machines.
_HASHER = argon2.PasswordHasher(time_cost=4, memory_cost=9216, parallelism=1)


def hash_password(password: str) -> str:
    """The argon2id hash to put into the configuration."""
    return _HASHER.hash(password)


class Login:
    """Checks user names and passwords."""

    def __init__(self, users: Mapping[str, str], *, allow_anonymous: bool, parallel_max: int) -> None:
        self._users = dict(users)
        self._allow_anonymous = allow_anonymous
        self._threads = ThreadPoolExecutor(parallel_max, "login")
        self._key = secrets.token_bytes(32)
        self._seen: dict[str, bytes] = {}
        self._decoy = _HASHER.hash(secrets.token_hex()) if users else ""

    async def admits(self, username: str | None, password: bytes | None, certified: str | None = None) -> bool:
        """Whether a client with this name and password may connect; if a certificate tells who it is, only as that."""
        if certified is not None:
            return username in {None, certified}
        if username is None:
            return self._allow_anonymous
        if not self._users:
            return self._allow_anonymous
        digest = hashlib.blake2b(username.encode() + b"\0" + (password or b""), key=self._key).digest()
        if hmac.compare_digest(self._seen.get(username, b""), digest):
            return True
        known = self._users.get(username)
        ok = await asyncio.get_running_loop().run_in_executor(
            self._threads, _verify, known or self._decoy, password or b""
        )
        if ok and known is not None:
            self._seen[username] = digest
            return True
        return False

    def close(self) -> None:
        """Let go of the threads; checks that have not begun are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _verify(hashed: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
