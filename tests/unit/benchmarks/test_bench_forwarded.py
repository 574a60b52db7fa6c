"""The packets of the ceiling are those of the gateway."""

from __future__ import annotations

import mqtt5

from benchmarks.forwarded import forwarded_tape


def test_a_tape_is_whole_packets_of_one_length_that_name_their_events() -> None:
    tape, frame_bytes = forwarded_tape(7, range(100, 300), 100)
    assert len(tape) == 200 * frame_bytes
    for index in range(200):
        packet, size = mqtt5.read(memoryview(tape)[index * frame_bytes :])
        assert isinstance(packet, mqtt5.PublishPacket)
        assert (size, packet.packet_id, packet.topic) == (frame_bytes, index + 1, "devices/bench-07/m")
        assert packet.payload[:17] == b'{"n":"%08d","' % (100 + index)
        assert [name for name, _ in packet.user_properties] == ["id", "time", "source", "device", "clockquality"]
