import pytest

from benchmarks.frames import payload, topic
from benchmarks.guarded import share, table
from benchmarks.guards import DEVICES_MAX, PASSWORD, guards
from benchmarks.systems import GATEWAY
from gateway.broker.rights import Identity, Rights
from gateway.config import load
from gateway.contracts.build import build


def config_of(folder, guard):
    path = folder / "gateway.toml"
    text = GATEWAY.format(
        folder=folder,
        port=1883,
        upstream_port=1884,
        mqtt_version="5",
        log="",
        broker=guard.broker,
        sections=guard.sections,
    )
    path.write_text(text)
    return load.load(path, {})


@pytest.mark.parametrize("name", guards())
def test_every_setting_is_a_configuration_under_which_the_devices_may_publish(tmp_path, name):
    config = config_of(tmp_path, guards()[name])
    rights = Rights(config.rights, config.roles, is_local=config.broker.is_local())
    known = config.broker.users.get("bench-19")
    identity = Identity("bench-19", "bench-19" if known else None, known.role if known else None)
    assert rights.of(identity).may_publish("devices/bench-19/m")
    assert bool(known) is bool(guards()[name].password)


def test_the_guarded_one_lets_nobody_publish_for_another_and_has_a_rate(tmp_path):
    config = config_of(tmp_path, guards()["guarded"])
    rights = Rights(config.rights, config.roles, is_local=config.broker.is_local())
    assert not rights.of(Identity("bench-01", "bench-01", "sensor")).may_publish("devices/bench-02/m")
    assert (config.broker.allow_anonymous, len(config.broker.users)) == (False, DEVICES_MAX)
    assert config.broker.publish_rate_max > 0
    assert guards()["guarded"].password == PASSWORD


@pytest.mark.parametrize("name", ["contracts", "both"])
def test_what_the_devices_send_fulfils_the_contract_and_less_does_not(tmp_path, name):
    config = config_of(tmp_path, guards()[name])
    contracts = build(config.contracts, config.ingest.without_contract)
    assert contracts.judge(topic(7), payload(42)) is None
    assert contracts.judge(topic(7), payload(42).replace(b"21.50", b"90.00")).rule == "max"
    assert contracts.judge("devices/bench-07/other", payload(42)) is not None


def test_a_share_is_the_median_of_the_shares_of_each_round():
    rounds = {
        "open": [{"ingest_per_s": 100.0}, {"ingest_per_s": 50.0}, {"ingest_per_s": 10.0}],
        "guarded": [{"ingest_per_s": 90.0}, {"ingest_per_s": 40.0}, {"ingest_per_s": 10.0}],
    }
    assert share(rounds, "guarded", "ingest_per_s") == 0.9
    assert share(rounds, "open", "ingest_per_s") == 1.0
    assert share({"open": [], "guarded": []}, "guarded", "ingest_per_s") is None


def test_the_table_has_a_row_for_each_setting():
    figures = {"ingest_per_s": 1000.0, "cpu_us": 5.0}
    assert table({"open": [figures], "guarded": [figures]}).row_count == 2
