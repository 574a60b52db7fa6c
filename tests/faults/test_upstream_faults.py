"""Upstreams that swallow, hang, reset and refuse: nothing is lost, and a duplicate carries the id of the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mqtt5

from device_sims.verdict import identify, judge
from gateway.eventlog.state import StateReader, path_of
from tests.site.load import Load
from tests.site.ports import wait_for
from tests.site.raw_client import RawClient
from tests.site.scripted_upstream import SILENCE, WELCOME, Arrival, Reset, ScriptedUpstream, accept, refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]


def delivered(cloud: ScriptedUpstream) -> list[tuple[str, int]]:
    return [known for each in list(cloud.arrivals) if (known := identify(each.payload)) is not None]


def check_ids(gateway: GatewayProcess, cloud: ScriptedUpstream) -> None:
    """Every arrival carries the id of the one event that it is."""
    of_seq = {event.seq: (event.topic, event.payload) for event in gateway.events()}
    log_ids = set()
    for each in cloud.arrivals:
        log_id, seq = each.properties["id"].split(".")
        log_ids.add(log_id)
        assert of_seq[int(seq)] == (each.topic, each.payload)
    assert len(log_ids) == 1


def check_books(gateway: GatewayProcess) -> None:
    status, cloud = gateway.status(), gateway.upstream()
    assert cloud["cursor"] == status["log"]["head"]
    assert cloud["forwarded"] + cloud["quarantined"] + cloud["filtered"] + cloud["pending"] == status["log"]["head"]


def run_load(gateway: GatewayProcess, cloud: ScriptedUpstream, events: int, until: Callable[[], bool]) -> None:
    """Publish at least `events` and until it is true; then everything must have arrived."""
    with Load(gateway.port) as load:
        load.wait_acknowledged(events)
        wait_for(until, what="the fault")
        load.finish()
    wait_for(gateway.is_drained, 60, "everything forwarded")
    verdict = judge(load.acknowledged(), delivered(cloud))
    assert verdict.ok, verdict.total
    check_ids(gateway, cloud)
    check_books(gateway)


def test_an_upstream_that_swallows_acknowledgements_is_noticed_reconnected_and_loses_nothing(
    gateway_at: Gateways,
) -> None:
    def answer(arrival: Arrival) -> bytes:
        swallowed = arrival.connection <= 2 and arrival.position > 100 * arrival.connection
        return SILENCE if swallowed else accept(arrival)

    with ScriptedUpstream(answer) as cloud:
        gateway = gateway_at(upstream_port=cloud.port, upstream_options="stall_timeout_s = 0.5").start()
        run_load(gateway, cloud, 500, lambda: cloud.connections >= 3)
        told = gateway.upstream()
    assert told["stalls"] >= 1
    assert told["reconnects"] >= 2
    assert told["state"] == "connected"
    ids = [each.properties["id"] for each in cloud.arrivals]
    assert len(ids) > len(set(ids)), "nothing was sent twice: the swallowed ones were not sent again"


def test_a_stalled_upstream_is_told_as_such_while_it_lasts(gateway_at: Gateways) -> None:
    with ScriptedUpstream(lambda _: SILENCE) as cloud:
        gateway = gateway_at(upstream_port=cloud.port, upstream_options="stall_timeout_s = 0.2").start()
        with RawClient(gateway.port) as device:
            device.join("device").publish("a", b"x")
            wait_for(lambda: gateway.upstream()["state"] == "stalled", what="the stall told")
            assert "nothing was acknowledged" in gateway.upstream()["reason"]
            wait_for(lambda: cloud.connections >= 3, what="another try")
            device.publish("b", b"devices are served all the same")
        assert gateway.upstream()["pending"] == 2
        assert {each.properties["id"] for each in cloud.arrivals} == {cloud.arrivals[0].properties["id"]}


def test_an_upstream_that_hangs_in_connect_is_given_up_and_tried_again(gateway_at: Gateways) -> None:
    hanging = 3

    def welcome(connection: int) -> bytes:
        return SILENCE if connection <= hanging else WELCOME

    with ScriptedUpstream(welcome=welcome) as cloud:
        gateway = gateway_at(upstream_port=cloud.port, upstream_options="connect_timeout_s = 0.3").start()
        wait_for(lambda: gateway.upstream()["state"] == "unreachable", what="the trouble told")
        assert "no connection within" in gateway.upstream()["reason"]
        run_load(gateway, cloud, 500, lambda: cloud.connections > hanging)
        assert {each.connection for each in cloud.arrivals} == {hanging + 1}


def test_connections_reset_in_the_middle_of_a_batch_lose_nothing(gateway_at: Gateways) -> None:
    resets = 8

    def answer(arrival: Arrival) -> bytes:
        if arrival.connection <= resets and arrival.position > 37 * arrival.connection:
            raise Reset
        return accept(arrival)

    with ScriptedUpstream(answer) as cloud:
        gateway = gateway_at(upstream_port=cloud.port).start()
        run_load(gateway, cloud, 3000, lambda: cloud.connections > resets)
        assert gateway.upstream()["reconnects"] >= resets


def test_a_connection_that_is_reset_before_every_answer_makes_no_progress_and_no_loss(gateway_at: Gateways) -> None:
    healed = False

    def answer(arrival: Arrival) -> bytes:
        if not healed:
            raise Reset
        return accept(arrival)

    with ScriptedUpstream(answer) as cloud:
        gateway = gateway_at(upstream_port=cloud.port).start()
        with Load(gateway.port) as load:
            load.wait_acknowledged(500)
            wait_for(lambda: cloud.connections >= 3, what="three tries")
            load.finish()
        assert gateway.upstream()["cursor"] == 0
        healed = True
        wait_for(gateway.is_drained, what="everything forwarded")
        assert judge(load.acknowledged(), delivered(cloud)).ok
        check_books(gateway)


def test_events_that_the_upstream_refuses_are_quarantined_and_the_rest_flows(gateway_at: Gateways) -> None:
    def answer(arrival: Arrival) -> bytes:
        known = identify(arrival.payload)
        if known is not None and known[1] in (7, 300):
            return refuse(arrival, mqtt5.PubAckReasonCode.PAYLOAD_FORMAT_INVALID)
        return accept(arrival)

    with ScriptedUpstream(answer) as cloud:
        gateway = gateway_at(upstream_port=cloud.port).start()
        with Load(gateway.port, devices=2) as load:
            load.wait_acknowledged(2000)
            load.finish()
        wait_for(gateway.is_drained, what="everything settled")
        verdict = judge(load.acknowledged(), delivered(cloud))
        assert verdict.ok, verdict.total
        assert gateway.upstream()["quarantined"] == 4
        assert gateway.upstream()["state"] == "connected"
        check_books(gateway)
        reader = StateReader(path_of(gateway.data_dir))
        try:
            assert reader.quarantined() == {"cloud": 4}
        finally:
            reader.close()
        gateway.kill()
        gateway.start()
        wait_for(gateway.is_drained, what="everything settled after a kill")
        reader = StateReader(path_of(gateway.data_dir))
        try:
            assert reader.quarantined() == {"cloud": 4}
        finally:
            reader.close()


def test_an_upstream_that_forbids_the_topic_blocks_and_dead_letters_nothing(gateway_at: Gateways) -> None:
    forbids = True

    def answer(arrival: Arrival) -> bytes:
        return refuse(arrival, mqtt5.PubAckReasonCode.NOT_AUTHORIZED) if forbids else accept(arrival)

    with ScriptedUpstream(answer) as cloud:
        gateway = gateway_at(upstream_port=cloud.port, upstream_options="blocked_retry_s = 0.2").start()
        with Load(gateway.port) as load:
            load.wait_acknowledged(500)
            wait_for(lambda: gateway.upstream()["state"] == "blocked", what="the refusal told")
            load.finish()
        told = gateway.upstream()
        assert (told["cursor"], told["quarantined"]) == (0, 0)
        assert "not authorized" in told["reason"]
        forbids = False
        wait_for(gateway.is_drained, what="everything forwarded")
        assert judge(load.acknowledged(), delivered(cloud)).ok
        check_books(gateway)
