"""`gateway run`: the gateway itself, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from functools import partial

from gateway.cli.options import ConfigOption, read_config
from gateway.config import load
from gateway.health import journal

_COLLECT_AT_OBJECTS = 10_000


def run(config: ConfigOption = None) -> None:
    """Run the gateway until SIGTERM or SIGINT."""
    os.umask(0o077)  # what devices say is not for every user of this machine
    settings = read_config(config)
    reread = partial(load.load, load.find(config))
    ration = journal.set_up(settings.gateway.log_level.upper())
    from gateway.app import Gateway  # noqa: PLC0415 - the other commands need neither amqtt nor the event loop

    async def gateway() -> None:
        built = Gateway(settings, ration, reread)
        # What is here by now stays. Unless it is left out, a full collection looks at its 50,000 objects and serves
        # nobody for 50 ms; much longer on a small machine.
        gc.collect()
        gc.freeze()
        # Events are tuples, and thousands of them stand between a device and an upstream: at the 700 objects that
        # Python begins a collection with, each would be looked at again and again, for cycles that it cannot have.
        gc.set_threshold(_COLLECT_AT_OBJECTS)
        await built.run()

    loop_factory = None
    with contextlib.suppress(ImportError):  # 32-bit machines have no wheel of it, and do without
        import uvloop  # noqa: PLC0415

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(gateway())
