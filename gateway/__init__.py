"""An IoT edge gateway that never loses an acknowledged event."""

__version__ = "0.1.0"
