from benchmarks import frames
from benchmarks.sink import Session


def test_connect_is_answered_in_the_version_of_the_client():
    assert Session().answer(frames.connect("a")) == bytes.fromhex("20020000")
    five = frames.connect("a").replace(b"MQTT\x04", b"MQTT\x05")
    assert Session().answer(five) == bytes.fromhex("2003000000")


def test_publishes_are_acknowledged_in_order_however_the_stream_is_cut():
    tape, _ = frames.publish_tape(0, range(50))
    for step in (1, 5, 333, len(tape)):
        session = Session()
        answers = [session.answer(tape[start : start + step]) for start in range(0, len(tape), step)]
        assert b"".join(answers) == frames.puback_tape(50)


def test_qos_0_gets_no_answer_and_qos_2_its_handshake():
    session = Session()
    assert session.answer(frames.packet(0x30, frames.string("t") + b"x")) == b""
    assert session.answer(frames.packet(0x34, frames.string("t") + b"\x00\x09x")) == bytes.fromhex("50020009")
    assert session.answer(frames.packet(0x62, b"\x00\x09")) == bytes.fromhex("70020009")
    assert session.answer(b"\xc0\x00") == b"\xd0\x00"


def test_every_filter_of_a_subscription_is_granted():
    session = Session()
    body = b"\x00\x07" + frames.string("a") + b"\x01" + frames.string("b/#") + b"\x01"
    assert session.answer(frames.packet(0x82, body)) == bytes.fromhex("900400070000")
    session.answer(frames.connect("a").replace(b"MQTT\x04", b"MQTT\x05"))
    five = b"\x00\x07\x00" + frames.string("a") + b"\x01"
    assert session.answer(frames.packet(0x82, five)) == bytes.fromhex("90040007000" + "0")
