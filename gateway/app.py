"""Puts the gateway together and runs it: every task in one TaskGroup, torn down in the order of the data.

Stopping keeps the promise of the acknowledgement: first devices are no longer heard, then what they sent reaches the
disk, then the forwarders leave their cursors at what was taken.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway import control, front
from gateway.clock import SystemClock
from gateway.config.reloading import Reloading
from gateway.contracts.build import build as contracts_of
from gateway.contracts.documents import Documents
from gateway.errors import ConfigError
from gateway.eventlog.log import EventLog
from gateway.forward.fleet import Fleet
from gateway.forward.forwarding import Forwarding
from gateway.forward.quarantine_command import QuarantineCommands
from gateway.forward.replay import Replayer
from gateway.forward.replay_command import ReplayCommands
from gateway.health import wear
from gateway.health.clocksync import ClockSync, believed, time_service_runs
from gateway.health.expiry import Expiry
from gateway.health.keptsockets import KeptSockets
from gateway.health.ration import Ration, keep_renewed
from gateway.health.systemd import Notifier
from gateway.health.watchdog import watch
from gateway.ingest.ingest import Ingest
from gateway.upstreams import kinds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.certificates import Certificate
    from gateway.config.model import Config
    from gateway.forward.meter import Meter
    from gateway.forward.upstream import Upstream
    from gateway.upstreams.kinds import AnyUpstreamConfig

logger = logging.getLogger(__name__)


class Gateway:
    """One gateway process."""

    def __init__(
        self, config: Config, ration: Ration | None = None, reread: Callable[[], Config] | None = None
    ) -> None:
        """Take over the data directory and build every part; nothing runs yet.

        Args:
            config: in force until SIGHUP.
            ration: of log lines, which is kept renewed.
            reread: reads the configuration again on SIGHUP; raises ConfigError if it is wrong.

        Raises:
            ConfigError: the data directory cannot be used, or what systemd hands over.
            LogError: the log cannot be opened.
        """
        self._config = config
        self._ration = ration or Ration()
        self._notifier = Notifier()
        self._kept = KeptSockets(self._notifier)
        clock = self._clock = SystemClock()
        self._started_s = time.monotonic()
        self._log = EventLog(config.gateway.data_dir, config.log, clock, ())
        self._log.quarantined.limits = config.quarantine
        self._ingest = Ingest(
            self._log,
            clock,
            contracts_of(config.contracts, config.ingest.without_contract, config.ingest.topics_max),
            config.ingest,
        )
        self._ingest.catch_up()
        self._clock_sync = ClockSync(
            clock,
            partial(believed, config.gateway.clock),
            self._log.boots.newest(),
            self._log.keep_anchor,
            wait_s=config.gateway.clock_wait_s if time_service_runs() else 0,
        )
        self._fleet = Fleet(self._forwarding, lambda name, section: self._connection(name, section)(), self._log, clock)
        self._reloading = Reloading(config, reread, self._take_over)
        links = self._fleet.standing, self._connect_replay
        self._replayer = Replayer(
            self._log,
            config.replay,
            *links,
            clock,
            ready=self._clock_sync.wait,
            reader=lambda: Documents(self._ingest.contracts).of,
        )
        self._quarantine = QuarantineCommands(self._log, self._ingest, self._replayer)
        self._expiry = Expiry(self._certificates, clock)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; SIGHUP has certificates and the configuration read again.

        Raises:
            ConfigError: an address cannot be listened on.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._broker = front.build(self._config, self._log, self._ingest, SystemClock())
        try:
            await self._fleet.configure(self._config.upstreams)
            loop.add_signal_handler(signal.SIGHUP, self._reload)
            await self._run_until(stop)
        finally:
            await self._broker.close()
            await self._log.close(self._config.gateway.stop_timeout_s)
            logger.info("the gateway has stopped", extra={"head": self._log.head})

    def status(self) -> dict[str, object]:
        """Everything `gateway status` shows of a running gateway; plain JSON values."""
        log = self._log.status()
        uptime_s = time.monotonic() - self._started_s
        worn = wear.of_this_process(self._log.stored_events, uptime_s, self._config.log.card_endurance_tb)
        return {
            "id": self._config.gateway.id,
            "running": True,
            "uptime_s": round(uptime_s, 1),
            "tasks": len(asyncio.all_tasks()),
            "clock": self._clock_sync.status()._asdict(),
            "log": log._asdict(),
            "wear": None if worn is None else worn._asdict(),
            **self._broker.describe(),
            "ingest": self._ingest.describe(),
            "quarantine": self._log.quarantined.describe(),
            "upstreams": self._fleet.describe(),
            "replays": self._replayer.under_way(),
            "config": self._reloading.describe(),
            "certificates": self._expiry.describe(),
        }

    def _certificates(self) -> list[Certificate]:
        theirs = [each for upstream in self._fleet.upstreams for each in kinds.certificates(upstream)]
        return self._broker.certificates + theirs

    def _connect_replay(self, name: str, config: Any, id_: str) -> Upstream:
        """One more connection to an upstream, whose events are marked."""
        return self._connection(name, config)(marks=(("replay", id_),), suffix=f"-replay-{id_}")

    def _forwarding(self, name: str, config: AnyUpstreamConfig, meter: Meter) -> Forwarding:
        build, ready = self._connection(name, config), self._clock_sync.wait
        return Forwarding(name, config, build, self._log, self._clock, ready=ready, meter=meter)

    def _connection(self, name: str, config: AnyUpstreamConfig) -> Callable[..., Upstream]:
        """Makes connections to an upstream (see `kinds.build`)."""
        return partial(
            kinds.build,
            config,
            name=name,
            gateway_id=self._config.gateway.id,
            log_id=self._log.log_id,
            true_time=self._log.boots,
            contracts=self._ingest,
        )

    def _reload(self) -> None:
        self._broker.reload()
        self._reloading.ask()

    async def _take_over(self, wanted: Config) -> None:
        """Have every part take over what has changed; who cannot raises ConfigError before anything has."""
        limits = wanted.ingest
        contracts = await asyncio.to_thread(contracts_of, wanted.contracts, limits.without_contract, limits.topics_max)
        await self._fleet.configure(wanted.upstreams)
        self._ingest.use(contracts, wanted.ingest)
        self._log.quarantined.limits = wanted.quarantine

    async def books(self) -> list[dict[str, object]]:
        """What became of every event, by upstream, at one moment; plain JSON values.

        Raises:
            LogError: the disk refuses to tell.
        """
        return [line._asdict() for line in await self._log.books()]

    async def _obey(self, request: dict[str, Any]) -> object:
        """Hand a command from the control socket to the part that it is for."""
        commands: dict[str, Callable[[dict[str, Any]], Awaitable[object]]] = {
            **self._broker.commands,
            "replay": ReplayCommands(self._replayer, self._log).obey,
            "upstreams": self._fleet.obey,
            "quarantine": self._quarantine.obey,
        }
        carry_out = commands.get(str(request.get("command")))
        if carry_out is None:
            raise ConfigError("this is no command that the gateway knows")
        return await carry_out(request)

    async def _run_until(self, stop: asyncio.Event) -> None:
        await self._clock_sync.look()  # before anything is forwarded
        await self._broker.open(self._kept)
        async with (
            control.serve(self._config.gateway.data_dir, self.status, self.books, self._obey),
            asyncio.TaskGroup() as tasks,
        ):
            running = [
                tasks.create_task(self._log.run(), name="log"),
                tasks.create_task(self._broker.run(), name="broker"),
                tasks.create_task(self._fleet.run(), name="upstreams"),
                tasks.create_task(self._replayer.run(), name="replays"),
                tasks.create_task(self._reloading.run(), name="configuration"),
                tasks.create_task(self._clock_sync.watch(), name="clock"),
                tasks.create_task(self._expiry.watch(), name="certificates"),
                tasks.create_task(watch(self._notifier, self._log.beat), name="watchdog"),
                tasks.create_task(keep_renewed(self._ration), name="ration"),
            ]
            logger.info("the gateway is ready", extra={"front": self._broker.summary, "head": self._log.head})
            self._notifier.ready(self._broker.summary)
            await stop.wait()
            logger.info("the gateway stops")
            self._notifier.stopping()
            await self._broker.close()
            for task in running:
                task.cancel()
