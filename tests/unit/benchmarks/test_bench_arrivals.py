from benchmarks.arrivals import Arrivals
from benchmarks.frames import payload


def stream(numbers):
    return b"".join(b"\x30\x00" + payload(number) for number in numbers)


def test_events_are_counted_once_however_the_stream_is_cut():
    data = stream(range(10))
    for step in (1, 7, 13, 14, 15, 100, 5000):
        arrivals = Arrivals({"events": (0, 10)}, keep_stamps=False)
        for start in range(0, len(data), step):
            arrivals.feed(data[start : start + step], start)
        assert arrivals.complete()
        assert arrivals.repeated == 0


def test_a_repeated_event_does_not_stand_in_for_a_missing_one():
    arrivals = Arrivals({"events": (0, 3)}, keep_stamps=False)
    arrivals.feed(stream([0, 1, 1]), 1.0)
    assert not arrivals.complete()
    report = arrivals.report()
    assert report["repeated"] == 1
    assert report["ranges"]["events"] == {"arrived": 2, "missing": 1, "first": 1.0, "last": 1.0}


def test_ranges_are_timed_on_their_own():
    arrivals = Arrivals({"backlog": (0, 2), "live": (2, 4)}, keep_stamps=False)
    arrivals.feed(stream([0, 2]), 1.0)
    arrivals.feed(stream([1]), 2.0)
    arrivals.feed(stream([3]), 3.0)
    ranges = arrivals.report()["ranges"]
    assert (ranges["backlog"]["first"], ranges["backlog"]["last"]) == (1.0, 2.0)
    assert (ranges["live"]["first"], ranges["live"]["last"]) == (1.0, 3.0)
    assert arrivals.latest() == 3.0


def test_nothing_awaited_is_complete_and_has_no_times():
    arrivals = Arrivals({"live": (5, 5)}, keep_stamps=False)
    assert arrivals.complete()
    assert arrivals.latest() is None


def test_stamps_name_each_event_and_its_time():
    arrivals = Arrivals({"events": (0, 2)}, keep_stamps=True)
    arrivals.feed(stream([1]), 1.5)
    arrivals.feed(stream([0]), 2.5)
    assert arrivals.report()["stamps"] == [(1, 1.5), (0, 2.5)]


def test_of_many_ranges_a_few_are_looked_for_at_a_time_and_all_are_counted():
    ranges = {str(low): (low, low + 10) for low in range(0, 100, 10)}
    arrivals = Arrivals(ranges, keep_stamps=False)
    for number in range(100):
        assert not arrivals.complete()
        arrivals.feed(stream([number]), float(number))
    assert arrivals.complete()
    report = arrivals.report()
    assert all(each["missing"] == 0 for each in report["ranges"].values())
    assert report["repeated"] == 0


def test_an_event_of_a_range_that_is_not_looked_for_yet_stays_missing():
    ranges = {str(low): (low, low + 10) for low in range(0, 100, 10)}
    arrivals = Arrivals(ranges, keep_stamps=False)
    arrivals.feed(stream([95]), 1.0)
    arrivals.feed(stream([number for number in range(100) if number != 95]), 2.0)
    assert sum(each["missing"] for each in arrivals.report()["ranges"].values()) >= 1


def test_marks_say_how_many_had_arrived_when_and_end_with_the_last_arrival():
    arrivals = Arrivals({"events": (0, 4)}, keep_stamps=False)
    for number, at in enumerate((1.0, 1.001, 1.2, 1.201)):
        arrivals.feed(stream([number]), at)
    assert arrivals.report()["marks"] == [(1.0, 1), (1.2, 3), (1.201, 4)]
