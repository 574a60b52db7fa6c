"""Signals: repeatable, believable, and consistent in themselves."""

import json
import math
import random
from itertools import pairwise

import pytest

from device_sims.profiles import PROFILES
from device_sims.profiles.door_contact import door_contact
from device_sims.profiles.gps_tracker import METRES_PER_DEGREE, Stadium
from device_sims.profiles.power_meter import DutyCycle
from device_sims.profiles.signal import DAY_S, Wander

START_S = 1_760_000_000.0
SEEDS = range(6)


def signal(profile, seed=1, index=0):
    return PROFILES[profile](random.Random(seed), index)


def correlation(xs, ys):
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return covariance / math.sqrt(sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_signal_depends_on_seed_index_and_time_alone(profile):
    once, again = signal(profile, 3, 2), signal(profile, 3, 2)
    times = [START_S + 977.0 * step for step in range(50)]
    forwards = [once(t) for t in times]
    assert forwards == [again(t) for t in reversed(times)][::-1]
    assert forwards != [signal(profile, 4, 2)(t) for t in times]


@pytest.mark.parametrize("profile", PROFILES)
def test_values_are_plain_json(profile):
    values = signal(profile)(START_S)
    assert json.loads(json.dumps(values, allow_nan=False)) == values


@pytest.mark.parametrize("seed", SEEDS)
def test_warmer_air_is_drier_and_the_day_shows(seed):
    climate = signal("climate", seed, seed)
    rows = [climate(START_S + 600.0 * step) for step in range(6 * 24 * 3)]
    temperatures = [row["temperature_c"] for row in rows]
    humidities = [row["humidity_percent"] for row in rows]
    assert correlation(temperatures, humidities) < -0.8
    assert 4 < max(temperatures) - min(temperatures) < 16
    assert all(5 < temperature < 40 for temperature in temperatures)
    assert all(10 <= humidity <= 100 for humidity in humidities)
    midnight_s = START_S // DAY_S * DAY_S
    assert climate(midnight_s + 16 * 3600)["temperature_c"] > climate(midnight_s + 4 * 3600)["temperature_c"]


@pytest.mark.parametrize("seed", SEEDS)
def test_energy_never_falls_and_agrees_with_power_times_time(seed):
    meter = signal("power_meter", seed, seed)
    rows = [meter(START_S + step) for step in range(4 * 3600)]
    energies = [row["energy_kwh"] for row in rows]
    assert all(earlier <= later for earlier, later in pairwise(energies))
    assert all(row["power_w"] > 0 for row in rows)
    counted_kwh = energies[-1] - energies[0]
    added_up_kwh = sum((a["power_w"] + b["power_w"]) / 2 for a, b in pairwise(rows)) / 3_600_000
    assert counted_kwh == pytest.approx(added_up_kwh, rel=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_energy_agrees_with_power_over_a_day_too(seed):
    meter = signal("power_meter", seed, 1)
    rows = [meter(START_S + 10 * step) for step in range(8641)]
    added_up_kwh = sum(row["power_w"] for row in rows[:-1]) * 10 / 3_600_000
    assert rows[-1]["energy_kwh"] - rows[0]["energy_kwh"] == pytest.approx(added_up_kwh, rel=0.01)


def test_a_duty_cycle_counts_what_it_draws():
    duty = DutyCycle(power_w=100.0, period_s=60.0, share=0.25, offset_s=7.0)
    assert duty.integral(0.0, 600.0) == pytest.approx(100 * 0.25 * 600)
    assert duty.integral(1.5, 41.5) == pytest.approx(sum(duty.at(1.5 + s / 100) for s in range(4000)) / 100, rel=0.01)


def test_wandering_stays_within_its_amplitude_and_integrates_exactly():
    wander = Wander(random.Random(5), amplitude=2.0, period_s=30.0)
    assert all(abs(wander.at(t / 7)) <= 2.0 for t in range(2000))
    steps = [wander.at(10 + s / 1000) / 1000 for s in range(20_000)]
    assert wander.integral(10.0, 30.0) == pytest.approx(sum(steps), abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_door_opens_and_closes_and_its_durations_grow_with_time(seed):
    door = door_contact(random.Random(seed), 1)
    rows = [door(START_S + step) for step in range(4 * 3600)]
    states = [row["state"] for row in rows]
    openings = sum(a == "closed" and b == "open" for a, b in pairwise(states))
    assert openings > 3
    assert 0 < states.count("open") < states.count("closed")
    for before, after in pairwise(rows):
        if before["state"] == after["state"] == "open":
            assert after["state_duration_s"] == pytest.approx(before["state_duration_s"] + 1, abs=0.11)
        elif before["state"] != after["state"]:
            assert after["state_duration_s"] <= 1
    assert all(0 < row["battery_percent"] <= 100 for row in rows)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_vehicle_moves_as_fast_and_where_to_as_it_says(seed):
    tracker = signal("gps_tracker", seed, seed)
    rows = [tracker(START_S + step) for step in range(3600)]
    for before, after in pairwise(rows):
        north_m = (after["latitude_deg"] - before["latitude_deg"]) * METRES_PER_DEGREE
        scale = METRES_PER_DEGREE * math.cos(math.radians(before["latitude_deg"]))
        east_m = (after["longitude_deg"] - before["longitude_deg"]) * scale
        assert math.hypot(north_m, east_m) * 3.6 == pytest.approx(after["speed_kmh"], abs=2.0)
        if after["speed_kmh"] > 10:
            heading_deg = math.degrees(math.atan2(east_m, north_m))
            assert abs((heading_deg - before["heading_deg"] + 180) % 360 - 180) < 8
    assert all(0 <= row["heading_deg"] < 360 for row in rows)
    assert all(0 < row["speed_kmh"] < 120 for row in rows)
    assert {row["fix"] for row in rows} <= {"2d", "3d"}


def test_a_round_is_closed_and_has_no_jumps():
    stadium = Stadium(straight_m=100.0, radius_m=20.0)
    points = [stadium.at(stadium.length_m * step / 1000)[:2] for step in range(1001)]
    assert points[0] == pytest.approx(points[-1])
    assert all(math.dist(a, b) <= stadium.length_m / 1000 * 1.001 for a, b in pairwise(points))
