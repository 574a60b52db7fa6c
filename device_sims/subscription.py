"""A subscriber that loses nothing: QoS 1, a persistent session, back after every broken connection.

Each message is handed over before it is acknowledged to the broker, so that whoever takes it can make it durable
first. The broker must be willing to queue for an absent subscriber; Mosquitto queues 1000 messages for each client
unless `max_queued_messages` says otherwise, and drops the rest.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import aiomqtt

from device_sims.backoff import retry_delay_s
from device_sims.connection import Client, Connection, Inbox, open_connection
from device_sims.endpoint import Endpoint
from device_sims.errors import ConnectionLost, SimsError, first_error

QOS = 1
INFLIGHT_MAX = 20

Take = Callable[[bytes], None]
"""Called with each payload; returns when it may be acknowledged. A `SimsError` ends the subscription."""


@dataclass(slots=True)
class Subscription:
    """What to subscribe to, and how it stands."""

    endpoint: Endpoint
    identifier: str
    topic: str
    take: Take
    say: Callable[[str], None]
    rng: random.Random
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    is_up: bool = False
    subscribed: int = 0
    """How often a SUBACK came."""
    passed_over: int = 0
    """Retained messages: repetitions from before the subscription, out of their order, so they are not handed on."""

    async def run(self) -> None:
        """Stay subscribed until `ending` is set.

        Raises:
            SimsError: the broker refuses the subscription, or `take` cannot take a message.
        """
        attempt = 0
        while not self.ending.is_set():
            subscribed, lost = self.subscribed, None
            try:
                await self._stay_subscribed()
            except* ConnectionLost as group:
                lost = first_error(group)
            self.is_up = False
            if lost is not None:
                self._judge_loss(lost)
            attempt = 0 if self.subscribed > subscribed else attempt + 1
            await _wait(self.ending, retry_delay_s(attempt, self.rng))

    async def forget(self) -> None:
        """Have the broker drop the session, so that it does not go on queueing for nobody.

        Raises:
            ConnectionLost: the broker could not be reached for it.
        """
        async with open_connection(self.endpoint, Client(self.identifier, clean_session=True, inflight_max=1)):
            return

    async def _stay_subscribed(self) -> None:
        client = Client(
            self.identifier, clean_session=False, inflight_max=INFLIGHT_MAX, inbox=_handing_over_to(self._hand_on)
        )
        async with open_connection(self.endpoint, client) as connection, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(connection.broken())
            await self._subscribe(connection)
            await self.ending.wait()
            watching.cancel()

    def _judge_loss(self, lost: BaseException) -> None:
        """A connection that ended because a message could not be taken is not worth another attempt."""
        if isinstance(lost.__cause__, SimsError):
            raise lost.__cause__
        self.say(f"{self.endpoint}: {lost}; trying again")

    def _hand_on(self, message: aiomqtt.Message) -> None:
        if message.retain:
            self.passed_over += 1
        else:
            self.take(bytes(message.payload))

    async def _subscribe(self, connection: Connection) -> None:
        granted = await connection.subscribe(self.topic, qos=QOS)
        if granted != [QOS]:
            raise SimsError(
                f"{self.endpoint} does not grant a subscription to {self.topic!r} at QoS 1 (it answered {granted})",
                hint="check --topic and what the user may read; below QoS 1 a broker may drop copies",
            )
        self.subscribed += 1
        self.is_up = True
        self.say("subscribed" if self.subscribed == 1 else "subscribed again")


def _handing_over_to(hand_on: Callable[[aiomqtt.Message], None]) -> type[Inbox]:
    """An inbox that keeps nothing: it hands each message over the moment the library puts it in.

    The library acknowledges a message after it has put it into the inbox, and forgets an inbox with its connection.
    Messages that waited in one would be acknowledged and gone.
    """

    class HandingOver(Inbox):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            hand_on(item)

    return HandingOver


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
