"""For the control: on PYTHONPATH, this takes the fsync out of the gateway's commits. Nothing else is changed."""

from __future__ import annotations

from gateway.eventlog import segment

segment.connect.__kwdefaults__["synchronous"] = "NORMAL"
