"""Who is let in: a CONNECT is looked at as a whole, login, client identifier and will, before anything changes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.broker import packets
from gateway.broker.limits import over_long
from gateway.broker.login import Login, Verdict
from gateway.broker.rights import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.broker.config import BrokerConfig
    from gateway.broker.connection import Connection
    from gateway.broker.packets import Connect
    from gateway.broker.registry import Registry
    from gateway.broker.rights import Rights

security = logging.getLogger("gateway.security")


class Admission:
    """Examines clients that want to connect.

    Args:
        config: limits.
        registry: who may log in.
        rights: what each may do.
        owner: tells who has the session under a client identifier; None if nobody has.
        now: monotonic seconds.
    """

    def __init__(
        self,
        config: BrokerConfig,
        registry: Registry,
        rights: Rights,
        owner: Callable[[str], Identity | None],
        now: Callable[[], float],
    ) -> None:
        self._config = config
        self._registry = registry
        self._rights = rights
        self._owner = owner
        self.login = Login(registry, config, now)
        self.refused_logins = 0
        """Since the start, whatever the reason."""
        self.logins = 0
        """Clients that have logged in, by password or certificate, since the start."""

    async def examine(self, connection: Connection, connect: Connect, client_id: str) -> Connect | None:
        """Give the connection its rights; the CONNECT to go on with, None if the client is turned away."""
        verdict = await self.login.judge(
            connect.username,
            connect.password,
            address=connection.peer[0],
            certified=connection.certificate_name,
            is_gone=lambda: connection.closing,
        )
        if verdict is not Verdict.ADMITTED:
            self._refuse(connection, connect, client_id, verdict)
            return None
        rights = self._rights.of(self._identify(connect, client_id, connection.certificate_name))
        if self._is_anothers(rights.identity):
            connection.send(packets.write_connack(packets.BAD_CLIENT_ID))
            connection.close(self._rights.refusals.note_client_id(rights, connection.peer[0]))
            return None
        will = connect.will
        if will is not None and (excess := over_long(will.topic.encode(), self._config)) is not None:
            connection.violate(f"its will has {excess.reason}")
            return None
        if will is not None and not rights.may_publish(will.topic):
            reason = self._rights.refusals.note(rights, "will", will.topic, connection.peer[0])
            if not self._rights.drops:
                connection.send(packets.write_connack(packets.NOT_AUTHORIZED))
                connection.close(f"may not publish its will to {will.topic[:200]!r}: {reason}")
                return None
            connect = connect._replace(will=None)
        connection.rights = rights
        self._note_login(connection, rights.identity)
        return connect

    def _note_login(self, connection: Connection, identity: Identity) -> None:
        if identity.username is None:  # let in without a login
            return
        self.logins += 1
        security.info(
            "a client has logged in",
            extra={
                "event": "login",
                "source": connection.peer[0],
                "user": identity.username,
                "client_id": identity.client_id,
            },
        )

    def _refuse(self, connection: Connection, connect: Connect, client_id: str, verdict: Verdict) -> None:
        self.refused_logins += 1
        connection.send(packets.write_connack(verdict.code))
        connection.close("login refused")
        security.warning(
            "login refused",
            extra={
                "event": "login refused",
                "source": connection.peer[0],
                "user": connect.username,
                "client_id": client_id,
                "reason": verdict.reason,
            },
        )

    def _identify(self, connect: Connect, client_id: str, certified: str | None) -> Identity:
        """Who has logged in, by a certificate or a password; a user name that was not checked is none."""
        name = certified or connect.username
        known = self._registry.find(name) if name is not None else None
        if known is None:
            return Identity(client_id, certified)
        return Identity(client_id, name, known.role)

    def _is_anothers(self, identity: Identity) -> bool:
        """Whether the client id is the name of another login, or the session under it is another's."""
        if identity.client_id != identity.username and identity.client_id in self._registry:
            return True
        owner = self._owner(identity.client_id)
        return owner is not None and owner.username != identity.username
