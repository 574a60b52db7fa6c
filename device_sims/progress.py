"""Counters of a run, for the live line and the summary."""

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """What the devices of a run have done so far, taken together."""

    generated: int = 0
    """Events made and put into a device's outbox."""
    skipped: int = 0
    """Events not made because the device's outbox was full."""
    sent: int = 0
    """Events handed to a connection at least once."""
    resent: int = 0
    """Times an event was handed to another connection because it stayed unacknowledged."""
    acknowledged: int = 0
    """Events acknowledged by the broker (PUBACK or PUBCOMP); QoS 0 never counts."""
    connected: int = 0
    """Devices that hold a connection now."""
    connections: int = 0
    """Connections made."""
    reconnects: int = 0
    """Connections made by a device that had one before."""
    outstanding: int = 0
    """Events generated and not yet acknowledged (at QoS 0: not yet written)."""
    last_trouble: str = ""
    """Why a device last failed to get or keep its connection; empty again once one has connected."""
