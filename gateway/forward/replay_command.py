"""What `gateway replay` asks of a running gateway: begin, list, show, cancel, pause, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import ConfigError
from gateway.eventlog.replays import Pacing
from gateway.eventlog.wanted import SEQ_MAX, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.eventlog.log import EventLog
    from gateway.forward.replay import Replayer


class Asked(BaseModel):
    """A replay, as it is asked for. What is not given is no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    upstream: str
    first_seq: int | None = Field(default=None, ge=1, le=SEQ_MAX)
    last_seq: int | None = Field(default=None, ge=1, le=SEQ_MAX)
    begin_ns: int | None = None
    end_ns: int | None = None
    topic: str = "#"
    device: str | None = None
    where: str = ""
    rate: float | None = Field(default=None, gt=0, le=1e9)
    speed: float | None = Field(default=None, gt=0, le=1e9)


class ReplayCommands:
    """Carries commands out.

    Args:
        replayer: runs the replays.
        log: what is replayed.
    """

    def __init__(self, replayer: Replayer, log: EventLog) -> None:
        self._replayer = replayer
        self._log = log

    async def obey(self, request: Mapping[str, Any]) -> object:
        """Carry out `{"command": "replay", "action": ..., ...}`; returns what is shown of the replay, or of all.

        Raises:
            ConfigError: it cannot be done, and nothing has changed.
            LogError: the disk refused.
        """
        action = request.get("action")
        if action == "list":
            return [self._replayer.describe(id_) for id_ in self._log.replays.known]
        if action == "begin":
            asked = {key: value for key, value in request.items() if key not in {"command", "action"}}
            return self._replayer.describe(await self._begin(asked))
        id_ = str(request.get("id"))
        if action in {"cancel", "pause", "resume"}:
            await {"cancel": self._replayer.cancel, "pause": self._replayer.pause, "resume": self._replayer.resume}[
                str(action)
            ](id_)
        elif action != "show":
            raise ConfigError("this is no command that the gateway knows")
        return self._replayer.describe(id_)

    async def _begin(self, request: dict[str, Any]) -> str:
        try:
            asked = Asked.model_validate(request)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"replay: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if asked.rate is not None and asked.speed is not None:
            raise ConfigError("a replay has a rate or a speed, not both", "Leave out --rate or --speed.")
        wanted = await self._stretch(asked)
        replay = await self._replayer.begin(asked.upstream, wanted, Pacing(asked.rate, asked.speed))
        return replay.id

    async def _stretch(self, asked: Asked) -> Wanted:
        """What is asked for, from the first number to the last that can be in it: a replay is of what is stored now."""
        first = asked.first_seq or self._log.replays.oldest
        last = min(asked.last_seq or SEQ_MAX, self._log.head)
        if asked.begin_ns is not None or asked.end_ns is not None:
            found = await self._log.replays.bounds(asked.begin_ns, asked.end_ns, first, last)
            first, last = found or (1, 0)
        if first > last:
            raise ConfigError(
                "there is no event in that stretch of the log",
                "What is there is shown by: gateway events --from ... --to ...",
            )
        wanted = Wanted(first, last, asked.begin_ns, asked.end_ns, asked.topic, asked.device, asked.where)
        try:
            wanted.check()
        except ValueError as error:
            raise ConfigError(f"replay: {error}") from error
        return wanted
