from benchmarks import curves


def test_rates_while_a_backlog_grows_stand_in_the_middle_of_their_steps():
    marks = [(0.0, 0), (0.5, 10), (1.0, 100), (2.0, 400)]
    assert curves.rates(marks, 1000, 1, 1.0) == [(1050.0, 100.0), (1250.0, 300.0)]


def test_rates_of_a_drain_go_down_the_backlog():
    assert curves.rates([(0.0, 0), (1.0, 100)], 1000, -1, 1.0) == [(950.0, 100.0)]
    assert curves.rates([], 1000, -1, 1.0) == []


def test_values_stand_at_the_backlog_of_their_time_and_others_are_left_out():
    marks = [(1.0, 0), (2.0, 100), (3.0, 300)]
    samples = [(0.9, 1.0), (1.0, 2.0), (1.5, 3.0), (2.5, 4.0), (3.0, 5.0), (3.1, 6.0)]
    assert curves.values(samples, marks, 0, 1) == [(0, 2.0), (50.0, 3.0), (200.0, 4.0), (300, 5.0)]
    assert curves.values(samples, [], 0, 1) == []
