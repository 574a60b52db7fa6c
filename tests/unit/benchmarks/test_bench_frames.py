import json

import pytest

from benchmarks import frames


def test_every_payload_is_json_of_the_same_size_and_carries_its_number():
    for number in (0, 7, 99_999_999):
        payload = frames.payload(number)
        assert len(payload) == frames.PAYLOAD_BYTES
        assert int(json.loads(payload)["n"]) == number
        assert frames.NUMBER.findall(payload) == [b"%08d" % number]


def test_connect_is_mqtt_3_1_1_with_a_clean_session_unless_told_otherwise():
    assert frames.connect("ab") == bytes.fromhex("100e00044d5154540402025800026162")
    assert frames.connect("ab", clean_session=False)[9] == 0


def test_a_login_is_the_client_id_and_a_password():
    assert frames.connect("ab", password="cd") == bytes.fromhex("101600044d51545404c2025800026162000261620002 6364")


def test_remaining_length_grows_to_two_bytes_at_128():
    assert frames.packet(0x30, bytes(127))[:2] == b"\x30\x7f"
    assert frames.packet(0x30, bytes(128))[:3] == b"\x30\x80\x01"


def test_a_publish_is_qos_1_with_topic_packet_id_and_payload():
    packet = frames.publish(3, 258, 42)
    topic = b"devices/bench-03/m"
    assert packet == (bytes([0x32, 2 + len(topic) + 2 + 100, 0, len(topic)]) + topic + b"\x01\x02" + frames.payload(42))


def test_a_tape_holds_all_packets_at_equal_distances():
    tape, size = frames.publish_tape(0, range(5, 11, 2))
    assert len(tape) == 3 * size
    assert tape[size : 2 * size] == frames.publish(0, 2, 7)
    assert frames.publish_tape(0, range(0)) == (b"", 0)


def test_packet_ids_start_again_at_1_and_are_never_0():
    assert [frames.packet_id(index) for index in (0, 65_534, 65_535)] == [1, 65_535, 1]


def test_pubacks_match_however_the_stream_is_cut():
    expected = frames.puback_tape(300)
    assert expected[:8] == bytes.fromhex("4002000140020002")
    for step in (1, 3, 4, 1200):
        offset = 0
        for start in range(0, len(expected), step):
            offset = frames.match_pubacks(expected[start : start + step], expected, offset)
        assert offset == len(expected)


@pytest.mark.parametrize("received", ["40020002", "50020001", "4002000140020002400200034002000440"])
def test_what_is_not_the_next_puback_is_an_error(received):
    with pytest.raises(frames.ProtocolError):
        frames.match_pubacks(bytes.fromhex(received), frames.puback_tape(3), 0)


def test_packets_are_split_and_the_unfinished_one_stays():
    first, second = frames.packet(0x30, bytes(200)), frames.packet(0xC0, b"")
    data = first + second
    assert frames.split_packets(data) == ([(0, 3, 203), (203, 205, 205)], 205)
    for cut in range(1, 203):
        assert frames.split_packets(data[:cut]) == ([], 0)
    assert frames.split_packets(data + b"\x30\x80") == ([(0, 3, 203), (203, 205, 205)], 205)


def test_a_remaining_length_of_five_bytes_is_an_error():
    with pytest.raises(frames.ProtocolError):
        frames.split_packets(b"\x30\x80\x80\x80\x80\x01")


def test_deliveries_at_qos_1_are_acknowledged_by_their_packet_ids_and_those_at_qos_0_are_not():
    at_qos_1 = [frames.publish(device, packet_id, 7) for device, packet_id in ((0, 1), (12, 0x0A0D), (104, 65_535))]
    at_qos_0 = frames.packet(0x30, frames.string(frames.topic(3)) + frames.payload(7))
    stream = b"\x90\x03\x00\x01\x01" + at_qos_1[0] + at_qos_0 + at_qos_1[1] + at_qos_1[2]
    assert frames.pubacks_for(stream) == bytes.fromhex("4002000140020a0d4002ffff")
    assert frames.pubacks_for(at_qos_0) == b""


def test_a_subscription_asks_for_its_qos():
    assert frames.subscribe("#", qos=1) == bytes.fromhex("8206000100012301")
