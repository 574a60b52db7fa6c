"""Where events come in: the embedded broker, or an external one. The one switch between them.

Each is imported only if it is the one: the embedded broker brings amqtt, an external one aiomqtt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gateway.external.config import ExternalBrokerConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.broker.broker import Broker
    from gateway.broker.config import Listen
    from gateway.certificates import Certificate
    from gateway.clock import Clock
    from gateway.config.model import Config
    from gateway.eventlog.log import EventLog
    from gateway.external.source import ExternalBroker
    from gateway.health.keptsockets import KeptSockets
    from gateway.ingest.ingest import Ingest

    Commands = Mapping[str, Callable[[dict[str, Any]], Awaitable[object]]]


class Front(Protocol):
    """What the gateway asks of it. `open` it, `run` it in the TaskGroup, `close` it."""

    @property
    def addresses(self) -> Sequence[Listen]:
        """Where devices connect; none if they do so elsewhere."""
        ...

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        ...

    @property
    def certificates(self) -> list[Certificate]:
        """Those in use."""
        ...

    @property
    def commands(self) -> Commands:
        """What it can be told by the control socket."""
        ...

    async def open(self, kept: KeptSockets) -> None:
        """Begin; raises `ConfigError` if that cannot be."""
        ...

    async def run(self) -> None:
        """Go on until cancelled."""
        ...

    async def close(self) -> None:
        """Take in nothing more; idempotent."""
        ...

    def reload(self) -> None:
        """Read certificates and keys again."""
        ...

    def describe(self) -> dict[str, object]:
        """Its part of the status; plain JSON values."""
        ...


def build(config: Config, log: EventLog, ingest: Ingest, clock: Clock) -> Front:
    """The front that `config` describes; nothing runs yet.

    Raises:
        ConfigError: a file of certificates or keys cannot be used.
    """
    if isinstance(config.broker, ExternalBrokerConfig):
        from gateway.external.source import ExternalBroker  # noqa: PLC0415 - see above

        return _External(ExternalBroker(config.broker, log, ingest, clock, config.gateway.id), clock)
    from gateway.broker.broker import Broker  # noqa: PLC0415 - see above
    from gateway.broker.rights import Rights  # noqa: PLC0415 - see above

    rights = Rights(config.rights, config.roles, is_local=config.broker.is_local())
    return _Embedded(Broker(config.broker, log, ingest, rights))


class _Embedded:
    """Fulfils `Front` by our own broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.open, self.run, self.close = broker.open, broker.run, broker.close
        self.reload = broker.handshakes.reload
        self.commands: Commands = {"devices": broker.registry.obey}

    @property
    def addresses(self) -> Sequence[Listen]:
        return self._broker.addresses

    @property
    def summary(self) -> str:
        return "listening on " + " ".join(str(address) for address in self._broker.addresses)

    @property
    def certificates(self) -> list[Certificate]:
        return self._broker.handshakes.certificates

    def describe(self) -> dict[str, object]:
        return {"broker": self._broker.status()._asdict()}


class _External:
    """Fulfils `Front` by a broker that is there already."""

    addresses: Sequence[Listen] = ()

    def __init__(self, source: ExternalBroker, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self.run, self.close = source.run, source.close
        self.commands: Commands = {}

    @property
    def summary(self) -> str:
        return f"taking events from {self._source.status().url}"

    @property
    def certificates(self) -> list[Certificate]:
        return self._source.certificates

    async def open(self, kept: KeptSockets) -> None:
        """Let go of the sockets of an embedded broker that was here before."""
        kept.release(["nothing (broker.mode is external)"])

    def reload(self) -> None:
        """Nothing is to be done: files are read at each connect."""

    def describe(self) -> dict[str, object]:
        return {"source": self._source.status().describe(self._clock.mono_ns())}
