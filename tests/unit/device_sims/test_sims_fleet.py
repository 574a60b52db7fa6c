"""Fleet files."""

import pytest

from device_sims.errors import UsageError
from device_sims.fleet import load_fleet
from device_sims.fleet_files import find_fleet, shipped_fleets

GROUP = 'name = "bed"\ncount = 2\nprofile = "climate"\nrate_hz = 2\n'
WHOLE = f'[fleet]\nname = "x"\n[[groups]]\n{GROUP}'


def write(tmp_path, text):
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return path


def complaint(tmp_path, text):
    with pytest.raises(UsageError) as caught:
        load_fleet(write(tmp_path, text))
    return str(caught.value)


def test_a_short_file_gets_sensible_defaults(tmp_path):
    fleet = load_fleet(write(tmp_path, WHOLE))
    group = fleet.groups[0]
    assert (group.qos, group.inflight_max, group.buffer_events_max, group.retain) == (1, 10, 1000, False)
    assert fleet.events_hz == 4
    assert [(spec.device, spec.index, spec.topic) for spec in fleet.devices()] == [
        ("bed-0001", 0, "devices/bed-0001/climate"),
        ("bed-0002", 1, "devices/bed-0002/climate"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WHOLE.replace('name = "x"', 'name = "x"\nsed = 1'), "fleet.sed: unknown key; write one of name, seed, topic"),
        (WHOLE + "rate = 1\n", "groups[0].rate: unknown key; write one of name, count"),
        (WHOLE + "[extra]\n", "extra: unknown key; write one of fleet, groups"),
        (WHOLE.replace("climate", "clima"), "no profile 'clima'; write one of climate, door_contact"),
        (WHOLE.replace("count = 2\n", ""), "groups[0].count: is missing"),
        (WHOLE.replace("count = 2", "count = 0"), "groups[0].count: Input should be greater than or equal to 1"),
        (WHOLE.replace("rate_hz = 2", "rate_hz = inf"), "groups[0].rate_hz"),
        (WHOLE.replace("rate_hz = 2", 'rate_hz = "2"'), "groups[0].rate_hz"),
        (WHOLE + "qos = 3\n", "groups[0].qos"),
        (WHOLE + "qos = true\n", "groups[0].qos"),
        (WHOLE + "jitter = 1.5\n", "groups[0].jitter"),
        (WHOLE.replace('"bed"', '"a b"'), "groups[0].name: write 1 to 32 letters"),
        (WHOLE + f"[[groups]]\n{GROUP}", "two groups are named 'bed'"),
        (WHOLE.replace('name = "x"', 'name = "x"\ntopic = "all"'), "does not contain {device}"),
        (WHOLE.replace('name = "x"', 'name = "x"\ntopic = "{device}/+"'), "+ # are not for topics"),
        ('[fleet]\nname = "x"\n', "groups: is missing"),
        ('groups = []\n[fleet]\nname = "x"\n', "a fleet without devices"),
        ("[fleet", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_to_write(tmp_path, text, expected):
    assert expected in complaint(tmp_path, text)


def test_a_missing_file_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="cannot read the fleet file"):
        load_fleet(tmp_path / "none.toml")


def test_rates_can_be_multiplied_and_the_qos_replaced(tmp_path):
    fleet = load_fleet(write(tmp_path, WHOLE)).adjusted(rate_factor=2.5, qos=2)
    assert (fleet.groups[0].rate_hz, fleet.groups[0].qos) == (5.0, 2)
    with pytest.raises(UsageError, match="--rate 0"):
        fleet.adjusted(rate_factor=0)


def test_the_shipped_fleets_are_valid_and_of_the_size_they_claim():
    fleets = {name: load_fleet(path) for name, path in shipped_fleets().items()}
    assert {"demo", "greenhouse", "load-500"} <= fleets.keys()
    assert fleets["demo"].device_count == 50
    assert len({group.profile for group in fleets["demo"].groups}) == 4
    assert 3 <= fleets["demo"].events_hz / 50 <= 5
    assert fleets["load-500"].device_count == 500
    assert all(name == fleet.fleet.name for name, fleet in fleets.items())


def test_a_fleet_is_found_by_path_or_by_name(tmp_path):
    path = write(tmp_path, WHOLE)
    assert find_fleet(str(path)) == path
    assert find_fleet("demo").name == "demo.toml"
    with pytest.raises(UsageError) as caught:
        find_fleet("nosuch")
    assert "demo, greenhouse, load-500" in caught.value.hint


def test_a_fleet_folder_under_the_working_directory_comes_first(tmp_path, monkeypatch):
    folder = tmp_path / "config" / "fleets"
    folder.mkdir(parents=True)
    (folder / "demo.toml").write_text(WHOLE)
    monkeypatch.chdir(tmp_path)
    assert find_fleet("demo") == folder / "demo.toml"
