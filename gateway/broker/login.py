"""Whether somebody is who it says: passwords against argon2 hashes, few at a time, and not as often as one likes.

A check runs in a thread of low priority, because it costs tens of milliseconds by intention. An unknown name costs as
much as a known one. A login that succeeded is remembered by a keyed digest until its secret changes, so that a fleet
that reconnects is not held up, neither by its number nor by somebody who guesses its passwords.

Who guesses is slowed down by where it comes from: beyond `login_failures_per_minute_max`, logins from its address are
refused unchecked. Failures for one name from everywhere never shut that name out: who comes from an address without a
failure only waits a moment more, so guessing at a device from elsewhere cannot keep the device away. Addresses take
turns, so that one with a thousand logins under way does not keep the others waiting.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import hashlib
import hmac
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING

import argon2

from gateway.broker import packets
from gateway.broker.throttle import Failures, Line, source_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.broker.config import BrokerConfig
    from gateway.broker.registry import Credential, Registry

# RFC 9106 section 4 lets memory be traded for passes; 7 MiB and 5 passes is OWASP's setting for the smallest machines.
_HASHER = argon2.PasswordHasher(time_cost=5, memory_cost=7168, parallelism=1)
_NICE = 10
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_FROM_BYTES = 4 * 1024 * 1024
_DELAY_S = 1.0
"""How much longer a login takes under a name for which too many have failed."""
_ADDRESSES_MAX = 4096
_NAMES_MAX = 4096


def hash_password(password: str) -> str:
    """The argon2id hash to put into the configuration."""
    return _HASHER.hash(password)


class Verdict(Enum):
    """What became of a login: the code of its CONNACK, and why."""

    ADMITTED = packets.ACCEPTED, ""
    NAMELESS = packets.NOT_AUTHORIZED, "no user name"
    WRONG = packets.BAD_LOGIN, "wrong user name or password"
    DISABLED = packets.NOT_AUTHORIZED, "the device is disabled"
    THROTTLED = packets.UNAVAILABLE, "too many failed logins from this address; not checked"
    CROWDED = packets.UNAVAILABLE, "too many logins wait; not checked"
    GONE = packets.UNAVAILABLE, "the client did not wait for the answer"

    @property
    def code(self) -> int:
        """For the CONNACK."""
        return self.value[0]

    @property
    def reason(self) -> str:
        """For the log."""
        return self.value[1]


class Login:
    """Checks user names and passwords.

    Args:
        registry: who may log in.
        config: limits.
        now: monotonic seconds.
    """

    def __init__(self, registry: Registry, config: BrokerConfig, now: Callable[[], float]) -> None:
        _give_memory_back()
        self._registry = registry
        self._allow_anonymous = config.allow_anonymous
        self._threads = ThreadPoolExecutor(config.logins_parallel_max, "login", _be_nice)
        self._free = config.logins_parallel_max
        self._line: Line[asyncio.Future[bool]] = Line(config.logins_pending_max)
        self._addresses = Failures(config.login_failures_per_minute_max, _ADDRESSES_MAX, now)
        self._names = Failures(config.login_failures_per_minute_max, _NAMES_MAX, now)
        self._key = secrets.token_bytes(32)
        self._seen: dict[str, bytes] = {}
        self._decoy = _make_decoy()
        self.throttled = 0
        """Logins refused unchecked, because too many from their address had failed."""
        self.crowded_out = 0
        """Logins refused unchecked, because too many waited."""

    @property
    def pending(self) -> int:
        """Logins that wait for their turn."""
        return len(self._line)

    async def judge(
        self,
        username: str | None,
        password: bytes | None,
        *,
        address: str = "",
        certified: str | None = None,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Verdict:
        """Whether a client with this name and password may connect.

        Args:
            username: of its CONNECT.
            password: of its CONNECT.
            address: where it comes from.
            certified: who it is by its certificate; then it may connect only as that, and needs no password.
            is_gone: tells whether the client has given up, so that nothing need be checked.
        """
        if certified is not None:
            return self._judge_certified(username, certified)
        if username is None:
            return Verdict.ADMITTED if self._allow_anonymous else Verdict.NAMELESS
        if not len(self._registry):
            return Verdict.ADMITTED if self._allow_anonymous else Verdict.WRONG
        digest = hashlib.blake2b(username.encode() + b"\0" + (password or b""), key=self._key).digest()
        if hmac.compare_digest(self._seen.get(username, b""), digest):
            return Verdict.ADMITTED
        verdict = await self._judge_unseen(username, password or b"", source_of(address), is_gone)
        if verdict is Verdict.ADMITTED:
            self._seen[username] = digest
        self.throttled += verdict is Verdict.THROTTLED
        self.crowded_out += verdict is Verdict.CROWDED
        return verdict

    def forget(self, username: str) -> None:
        """The login of this name has changed: the next one is checked anew."""
        self._seen.pop(username, None)

    def close(self) -> None:
        """Let go of the threads; checks that have not begun are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _judge_certified(self, username: str | None, certified: str) -> Verdict:
        known = self._registry.find(certified)
        if known is not None and not known.enabled:
            return Verdict.DISABLED
        return Verdict.ADMITTED if username in {None, certified} else Verdict.WRONG

    async def _judge_unseen(self, username: str, password: bytes, source: str, is_gone: Callable[[], bool]) -> Verdict:
        name = hashlib.blake2b(username.encode(), key=self._key, digest_size=16).digest()
        if self._is_throttled(source, name):
            return Verdict.THROTTLED
        if self._names.exhausted(name):
            await asyncio.sleep(_DELAY_S)
        async with self._turn(source) as has_turn:
            if not has_turn:
                return Verdict.CROWDED
            if is_gone():
                return Verdict.GONE
            if self._is_throttled(source, name):  # others of the same source failed while this one waited
                return Verdict.THROTTLED
            known = self._registry.find(username)
            is_right = await self._matches(known, password)
        if is_right and known is not None and self._registry.find(username) == known:
            return Verdict.ADMITTED if known.enabled else Verdict.DISABLED
        self._addresses.note(source)
        self._names.note(name)
        return Verdict.WRONG

    def _is_throttled(self, source: str, name: bytes) -> bool:
        return self._addresses.exhausted(source) or (self._names.exhausted(name) and self._addresses.has_failed(source))

    async def _matches(self, known: Credential | None, password: bytes) -> bool:
        secret_hash = known.secret_hash if known is not None else self._decoy
        return await asyncio.get_running_loop().run_in_executor(self._threads, _verify, secret_hash, password)

    @asynccontextmanager
    async def _turn(self, source: str) -> AsyncIterator[bool]:
        """Wait for one of the threads; False if too many wait."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            surplus = self._line.add(source, turn)
            if surplus is not None and not surplus.done():
                surplus.set_result(False)
            try:
                has_turn = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled() and turn.result():
                    self._pass_on()
                raise
            if not has_turn:
                yield False
                return
        try:
            yield True
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while (turn := self._line.take()) is not None:
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1


def _give_memory_back() -> None:
    """Have the C library return the memory of a check at its end; else each thread would keep it (mallopt(3))."""
    with suppress(OSError, AttributeError):  # not every C library has it
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _MAPPED_FROM_BYTES)  # what it would have come to by itself


def _be_nice() -> None:
    """The loop goes first: this thread computes only what nobody else wants to."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICE)


def _make_decoy() -> str:
    """A hash of nothing, made like the others."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(count)).rstrip(b"=").decode()
        for count in (_HASHER.salt_len, _HASHER.hash_len)
    )
    cost = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _verify(hashed: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
