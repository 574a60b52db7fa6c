"""Runs replays: each a forwarder on a view of its own, with a connection of its own, beside what forwards live events.

Promises: a replay goes on where it was after any end of the gateway, and events that it sends again have the ids they
always had. What it does moves no cursor and no books of its upstream. It heeds what the upstream is to be spared: it
waits while that is paused or out of its hours, and what it sends counts for its rate. If its upstream is configured no
more, it is paused and says so; it is never given up.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.conditions import json_of
from gateway.errors import ConfigError, LogError
from gateway.eventlog.replays import Pacing, Progress, Replay, described
from gateway.forward.replay_view import ReplayView
from gateway.forward.runner import Forwarder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeAlias

    from gateway.clock import Clock
    from gateway.eventlog.log import EventLog
    from gateway.eventlog.replays import ReplayState
    from gateway.eventlog.wanted import Wanted
    from gateway.forward.config import ReplayConfig
    from gateway.forward.member import Standing
    from gateway.forward.upstream import Upstream

    Look: TypeAlias = Callable[[str], Standing]
    """By the name of an upstream: how it stands. Raises ConfigError if it is not configured."""
    Connect: TypeAlias = Callable[[str, Any, str], Upstream]
    """By the name of an upstream, its section and the id of a replay: a connection for that replay alone."""

LOOK_INTERVAL_S = 1.0
"""How soon it is noticed that an upstream was paused, changed or removed, or that its hours are over."""

logger = logging.getLogger(__name__)


@dataclass
class _Run:
    """A replay that runs, since it was started last."""

    task: asyncio.Task[None]
    began_s: float
    began: Progress
    forwarder: Forwarder | None = None
    """None while it waits for its upstream to be let go."""
    held: str = ""


class Replayer:
    """All replays of one gateway.

    Args:
        log: where events are, and how far each replay is.
        config: limits.
        look: tells how an upstream stands.
        connect: makes a connection.
        clock: stamps what begins and ends.
        ready: awaited after each connect, before anything is sent.
        reader: what reads payloads now, for conditions on them (see `Wanted.chooser`).
    """

    def __init__(
        self,
        log: EventLog,
        config: ReplayConfig,
        look: Look,
        connect: Connect,
        clock: Clock,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        reader: Callable[[], Callable[[str, bytes], Any]] = lambda: json_of,
    ) -> None:
        self._log = log
        self._config = config
        self._look = look
        self._connect = connect
        self._clock = clock
        self._ready = ready
        self._reader = reader
        self._runs: dict[str, _Run] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._waiting = [each for each in log.replays.known.values() if each.progress.state == "running"]
        """They start when `run` does."""
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Go on with what was under way, and run what is begun, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for replay in self._waiting:
                self._start(replay)
            await asyncio.get_running_loop().create_future()

    async def begin(self, upstream: str, wanted: Wanted, pacing: Pacing | None = None) -> Replay:
        """Begin to send what is wanted of the log again; durable when it returns.

        Args:
            upstream: its name.
            wanted: a stretch that ends at the head at the most.
            pacing: how fast; None: as fast as the upstream takes it.

        Raises:
            ConfigError: there is no such upstream, or too many replays are under way.
            LogError: the disk refused, and nothing was begun.
        """
        id_ = self._fresh_id()
        self._look(upstream)
        now_ns = self._clock.wall_ns()
        progress = Progress("running", wanted.first_seq - 1)
        replay = Replay(id_, now_ns, upstream, wanted, pacing or Pacing(), progress)
        limits = self._config
        await self._log.replays.begin(replay, under_way_max=limits.under_way_max, ended_max=limits.ended_max)
        logger.info(
            "a replay begins",
            extra={"replay": id_, "upstream": upstream, "first_seq": wanted.first_seq, "last_seq": wanted.last_seq},
        )
        self._start(replay)
        return replay

    async def cancel(self, id_: str) -> Replay:
        """End a replay where it is; durable when it returns. What was sent stays sent.

        Raises:
            ConfigError: there is no such replay under way.
        """
        async with self._changing:
            await self._stop(id_)
            return await self._change(id_, "cancelled", "cancelled by an operator")

    async def pause(self, id_: str) -> Replay:
        """Have a replay rest where it is, also over a restart; durable when it returns.

        Raises:
            ConfigError: there is no such replay under way.
        """
        async with self._changing:
            await self._stop(id_)
            return await self._change(id_, "paused", "paused by an operator")

    async def resume(self, id_: str) -> Replay:
        """Go on with a replay that was paused; durable when it returns.

        Raises:
            ConfigError: there is no such replay under way, or its upstream is not configured.
        """
        async with self._changing:
            replay = self._under_way(id_)
            if replay.progress.state == "paused":
                self._look(replay.upstream)
                replay = await self._change(id_, "running")
                self._start(replay)
            return replay

    def under_way(self) -> list[dict[str, Any]]:
        """What is shown of those that have not ended, oldest first; plain JSON values."""
        return [self.describe(each.id) for each in self._log.replays.known.values() if each.is_under_way]

    def describe(self, id_: str) -> dict[str, Any]:
        """Everything that is shown of a replay; plain JSON values.

        Raises:
            ConfigError: there is no such replay.
        """
        replay = self._known(id_)
        found = described(replay)
        run = self._runs.get(id_)
        if run is None:
            return found
        if run.forwarder is None:
            return {**found, "connection": run.held or None}
        status, progress = run.forwarder.status(), replay.progress
        elapsed_s = max(1e-6, asyncio.get_running_loop().time() - run.began_s)
        passed = progress.position - run.began.position
        left = replay.wanted.last_seq - progress.position
        return {
            **found,
            "connection": status.state,
            "reason": status.reason,
            "events_per_s": round((progress.sent - run.began.sent) / elapsed_s, 1),
            "eta_s": round(left * elapsed_s / passed, 1) if passed else None,
        }

    # --- running ---

    def _start(self, replay: Replay) -> None:
        if self._tasks is None:
            self._waiting.append(replay)
            return
        task = self._tasks.create_task(self._replay(replay.id), name=f"replay {replay.id}")
        self._runs[replay.id] = _Run(task, asyncio.get_running_loop().time(), replay.progress)

    async def _replay(self, id_: str) -> None:
        upstream, is_done = self._log.replays.known[id_].upstream, False
        try:
            while not is_done:
                standing = self._look(upstream)
                self._runs[id_].held = standing.held
                if standing.held:
                    await asyncio.sleep(LOOK_INTERVAL_S)
                else:
                    is_done = await self._send(id_, standing)
        except ConfigError as error:
            await self._change(id_, "paused", str(error))
        else:
            await self._change(id_, "done")

    async def _send(self, id_: str, standing: Standing) -> bool:
        """Send until the end, or until the upstream stands otherwise; whether that was the end.

        Raises:
            ConfigError: the upstream is configured no more.
        """
        replay, run = self._log.replays.known[id_], self._runs[id_]
        connection = self._connect(replay.upstream, standing.config, id_)
        view = ReplayView(replay, self._log, self._log.boots.of, asyncio.get_running_loop().time, self._reader())
        run.forwarder = Forwarder(
            replay.upstream,
            standing.config,
            connection,
            view,
            self._clock,
            ready=self._ready,
            meter=standing.meter,
            role=f"replay {id_}",
        )
        work = asyncio.create_task(run.forwarder.run())
        end = asyncio.create_task(view.finished.wait())
        try:
            while not view.finished.is_set() and self._look(replay.upstream) == standing:
                await asyncio.wait((work, end), timeout=LOOK_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
        finally:
            run.forwarder = None
            work.cancel()
            end.cancel()
            await asyncio.wait((work, end))  # the connection has a deadline for closing
        return view.finished.is_set()

    async def _stop(self, id_: str) -> None:
        """Return when a replay does not run, and its position stands at what was taken."""
        self._under_way(id_)
        self._waiting = [each for each in self._waiting if each.id != id_]
        run = self._runs.get(id_)
        if run is not None:
            run.task.cancel()
            await asyncio.wait([run.task])  # its connection has a deadline for closing
        self._under_way(id_)  # it may have ended by itself meanwhile

    async def _change(self, id_: str, state: ReplayState, reason: str = "") -> Replay:
        self._runs.pop(id_, None)
        ended_ns = self._clock.wall_ns() if state in {"done", "cancelled"} else 0
        try:
            await self._log.replays.change(id_, state, reason, ended_ns)
        except LogError as error:
            logger.error(  # noqa: TRY400 - the stack tells nothing
                "the state of a replay is not durable yet", extra={"replay": id_, "reason": str(error)}
            )
        replay = self._log.replays.known[id_]
        extra = {"replay": id_, "upstream": replay.upstream, **replay.progress._asdict()}
        logger.log(logging.WARNING if replay.progress.missing else logging.INFO, f"a replay is {state}", extra=extra)  # noqa: G004
        return replay

    def _known(self, id_: str) -> Replay:
        replay = self._log.replays.known.get(id_)
        if replay is None:
            raise ConfigError(f"there is no replay {id_!r}", "See: gateway replay list")
        return replay

    def _under_way(self, id_: str) -> Replay:
        replay = self._known(id_)
        if not replay.is_under_way:
            raise ConfigError(f"replay {id_} has ended: it is {replay.progress.state}", "See: gateway replay list")
        return replay

    def _fresh_id(self) -> str:
        while (id_ := secrets.token_hex(4)) in self._log.replays.known:
            pass
        return id_
