"""The kinds of device that a fleet can be made of: data that looks like the real thing, from a seed.

To add one, write a module with a function of type `MakeSignal` and name it in `PROFILES`.
"""

from device_sims.profiles.climate import climate
from device_sims.profiles.door_contact import door_contact
from device_sims.profiles.gps_tracker import gps_tracker
from device_sims.profiles.power_meter import power_meter
from device_sims.profiles.signal import MakeSignal, Signal, Values

PROFILES: dict[str, MakeSignal] = {
    "climate": climate,
    "door_contact": door_contact,
    "gps_tracker": gps_tracker,
    "power_meter": power_meter,
}

__all__ = ["PROFILES", "MakeSignal", "Signal", "Values"]
