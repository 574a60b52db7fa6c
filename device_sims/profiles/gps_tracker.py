"""A vehicle on its round: position, speed, heading and the quality of the fix.

The round is a stadium (two straights joined by half circles). The distance driven is the exact integral of the
speed, so positions, speeds and headings of one device agree with each other.
"""

import math
import random
from dataclasses import dataclass

from device_sims.profiles.signal import DAY_S, Signal, Values, Wander

METRES_PER_DEGREE = 111_320.0
EPOCH_S = 1_735_689_600.0  # distances are counted from 2025-01-01T00:00:00Z
DEPOT_LATITUDE_DEG = 48.3705
DEPOT_LONGITUDE_DEG = 10.8978


@dataclass(frozen=True, slots=True)
class Stadium:
    """A closed round of two straights of `straight_m` joined by half circles of `radius_m`."""

    straight_m: float
    radius_m: float

    @property
    def length_m(self) -> float:
        """The way once around."""
        return 2 * self.straight_m + math.tau * self.radius_m

    def at(self, driven_m: float) -> tuple[float, float, float]:
        """The place (x, y) in metres and the direction of travel in radians, counterclockwise from the x axis."""
        half, along_m = divmod(driven_m % self.length_m, self.straight_m + math.pi * self.radius_m)
        if along_m < self.straight_m:
            x, y, direction = along_m - self.straight_m / 2, -self.radius_m, 0.0
        else:
            direction = (along_m - self.straight_m) / self.radius_m
            x = self.straight_m / 2 + self.radius_m * math.sin(direction)
            y = -self.radius_m * math.cos(direction)
        return (x, y, direction) if half == 0 else (-x, -y, direction + math.pi)


def gps_tracker(rng: random.Random, index: int) -> Signal:
    """One vehicle; every third one of a group is a slow one."""
    cruise_ms = rng.uniform(3.0, 5.0) if index % 3 == 2 else rng.uniform(9.0, 16.0)
    pace_ms = Wander(rng, 0.7 * cruise_ms, 180.0)  # less than the cruising speed: nobody drives backwards
    round_trip = Stadium(rng.uniform(800.0, 4000.0), rng.uniform(200.0, 900.0))
    turn = rng.uniform(0.0, math.tau)
    east_m, north_m = rng.uniform(-6000.0, 6000.0), rng.uniform(-6000.0, 6000.0)
    ahead_m = rng.uniform(0.0, round_trip.length_m)
    sky = Wander(rng, 1.0, 900.0)
    hills_m = Wander(rng, 12.0, DAY_S / 48)

    def at(t_s: float) -> Values:
        driven_m = ahead_m + cruise_ms * (t_s - EPOCH_S) + pace_ms.integral(EPOCH_S, t_s)
        x, y, direction = round_trip.at(driven_m)
        east = east_m + x * math.cos(turn) - y * math.sin(turn)
        north = north_m + x * math.sin(turn) + y * math.cos(turn)
        view = sky.at(t_s)
        latitude_deg = DEPOT_LATITUDE_DEG + north / METRES_PER_DEGREE
        metres_per_degree_east = METRES_PER_DEGREE * math.cos(math.radians(DEPOT_LATITUDE_DEG))
        return {
            "latitude_deg": round(latitude_deg, 6),
            "longitude_deg": round(DEPOT_LONGITUDE_DEG + east / metres_per_degree_east, 6),
            "altitude_m": round(494.0 + hills_m.at(t_s), 1),
            "speed_kmh": round(3.6 * (cruise_ms + pace_ms.at(t_s)), 1),
            "heading_deg": round(math.degrees(math.pi / 2 - direction - turn) % 360.0, 1) % 360.0,
            "fix": "3d" if view > -0.8 else "2d",
            "satellites": 9 + round(4 * view),
            "hdop": round(1.3 - 0.6 * view, 2),
        }

    return at
