"""The upstreams of a running gateway, each a task: added, changed, paused, moved and removed while the others go on.

Promises: whatever is done to one upstream, no other notices. An upstream whose section did not change keeps its
connection. One that is stopped leaves its cursor at what was taken, and nothing of the log is touched: one that is
removed keeps its cursor and its books, and goes on there if it is configured again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, LogError
from gateway.eventlog import points
from gateway.eventlog.boots import UNSYNCED
from gateway.forward.member import Member, Standing
from gateway.forward.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from gateway.clock import Clock
    from gateway.eventlog.log import EventLog
    from gateway.eventlog.places import Move
    from gateway.forward.config import UpstreamConfig
    from gateway.forward.member import Forwards
    from gateway.forward.upstream import Upstream

LOOK_INTERVAL_S = 3.0
"""How often it is noted how each upstream gets on."""

logger = logging.getLogger(__name__)


class Fleet:
    """All upstreams of one gateway.

    Args:
        build: makes what forwards to an upstream that has its place in the log, by its name, its section and its meter.
        check: raises ConfigError if it could not, by name and section; changes nothing.
        log: where the events are.
        clock: its monotonic time stamps state changes.
    """

    def __init__(
        self,
        build: Callable[[str, Any, Meter], Forwards],
        check: Callable[[str, Any], object],
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._build = build
        self._check = check
        self._log = log
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._changing = asyncio.Lock()

    @property
    def upstreams(self) -> list[Upstream]:
        """Every connection that there is now; to be looked at only."""
        forwardings = (member.forwarding for member in self._members.values())
        return [upstream for each in forwardings if each is not None for upstream in each.upstreams]

    def describe(self) -> list[dict[str, object]]:
        """What `gateway status` shows of each, in the order of the configuration; plain JSON values."""
        return [member.describe() for member in self._members.values()]

    def standing(self, name: str) -> Standing:
        """How an upstream is configured now, and what whoever else sends to it has to heed.

        Raises:
            ConfigError: it is not configured.
        """
        member = self._known(name)
        return Standing(member.config, member.held, member.meter)

    async def configure(self, configs: Mapping[str, UpstreamConfig]) -> None:
        """Make these the upstreams: those that did not change go on untouched, and the others are stopped cleanly.

        Raises:
            ConfigError: one cannot be built, and nothing has changed.
        """
        async with self._changing:
            old = self._members
            made = {name: self._make(name, each) for name, each in configs.items() if not _is_same(old.get(name), each)}
            self._log.places.configure(configs)
            await asyncio.gather(*(each.stop() for name, each in old.items() if name in made or name not in configs))
            self._members = {name: made.get(name) or old[name] for name in configs}
            for name, member in made.items():
                if name in old:
                    member.take_over(old[name])
                self._start(member)
        changed = {"added": made.keys() - old.keys(), "changed": made.keys() & old.keys()}
        changed["removed"] = old.keys() - configs.keys()
        if self._tasks is not None:
            logger.info("the upstreams are as configured", extra={key: sorted(each) for key, each in changed.items()})

    async def run(self) -> NoReturn:
        """Forward to every upstream that is not paused, until cancelled; then all have ended."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for member in self._members.values():
                self._start(member)
            while True:
                await asyncio.sleep(LOOK_INTERVAL_S)
                for member in list(self._members.values()):
                    await member.look()
                if all(self._log.places.has_begun(name) for name in self._members):
                    with suppress(LogError):  # the next look tries again
                        await self._log.places.all_have_begun()

    async def pause(self, name: str) -> None:
        """Stop forwarding to an upstream, over restarts too, until `resume`; its events wait.

        Raises:
            ConfigError: there is no such upstream.
            LogError: the disk refused, and nothing has changed.
        """
        async with self._changing:
            member = self._known(name)
            await self._log.places.pause(name)
            await self._restart(member)
            with suppress(LogError):  # the next flush tries again; it is paused all the same
                await self._log.flush()  # a power cut must not bring it back to before where it stopped

    async def resume(self, name: str) -> None:
        """Forward to an upstream that was paused.

        Raises:
            ConfigError: there is no such upstream.
            LogError: the disk refused, and nothing has changed.
        """
        async with self._changing:
            member = self._known(name)
            if name in self._log.places.paused:
                await self._log.places.resume(name)
                await self._restart(member)

    async def seek(self, name: str, to: str, *, sure: bool) -> Move:
        """Move an upstream to a seq, a time, `beginning` or `now`; if not `sure`, only tell what that would come to.

        Raises:
            ConfigError: there is no such upstream or place.
            LogError: the disk refused (see `Places.move`).
        """
        try:
            point = points.parse(to)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        async with self._changing:
            member, places = self._known(name), self._log.places
            plan = await places.plan(name, point)
            if not sure or plan.to == plan.cursor:
                return plan
            try:
                await member.stop()
                move = await places.move(name, point)
            finally:
                member.moved()
                self._start(member)
        logger.warning("an upstream was moved in the log", extra={"upstream": name, **move._asdict()})
        return move

    async def obey(self, request: Mapping[str, Any]) -> object:
        """Carry out what `gateway upstreams` asks for: `{"command": "upstreams", "action": ..., "name": ..., ...}`.

        Returns what is shown of all (`list`), what is shown of the one, or the move.

        Raises:
            ConfigError: it cannot be done, and nothing has changed.
            LogError: the disk refused.
        """
        action, name = request.get("action"), str(request.get("name"))
        match action:
            case "list":
                return self.describe()
            case "show":
                pass
            case "pause":
                await self.pause(name)
            case "resume":
                await self.resume(name)
            case "seek":
                return (await self.seek(name, str(request.get("to")), sure=request.get("sure") is True))._asdict()
            case _:
                raise ConfigError("this is no command that the gateway knows")
        return self._known(name).describe()

    def _make(self, name: str, config: UpstreamConfig) -> Member:
        self._check(name, config)
        meter = Meter(config, time.monotonic)
        member = Member(name, config, lambda: self._build(name, config, meter), self._log, self._clock, self._minute)
        member.meter = meter
        return member

    def _minute(self) -> int | None:
        """Of the local day; None if the clock of this boot was never set."""
        clock = self._clock
        now_ns, quality = self._log.boots.time_of(clock.boot_id, clock.mono_ns(), clock.wall_ns())
        now = time.localtime(now_ns // 10**9)
        return None if quality == UNSYNCED else now.tm_hour * 60 + now.tm_min

    def _known(self, name: str) -> Member:
        member = self._members.get(name)
        if member is None:
            known = ", ".join(self._members) or "none"
            raise ConfigError(f"there is no upstream {name!r}", f"Configured are: {known}.")
        return member

    async def _restart(self, member: Member) -> None:
        try:
            await member.stop()
        finally:  # also if whoever asked has given up waiting: what stays stopped would not be seen
            self._start(member)

    def _start(self, member: Member) -> None:
        if self._tasks is not None:
            member.start(self._tasks, is_paused=member.name in self._log.places.paused)


def _is_same(member: Member | None, config: UpstreamConfig) -> bool:
    """Whether nothing has changed that means anything to an upstream that has its place in the log."""
    return member is not None and member.config == config.model_copy(update={"start": member.config.start})
