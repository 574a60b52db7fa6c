import pytest

from benchmarks.figures import medians, percentile, ratio, spread


def test_percentiles_are_values_that_were_measured():
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1) == 100
    assert percentile(values, 0) == 1
    assert percentile([7.0], 0.99) == 7


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 1.01), ([1.0], -0.1)])
def test_a_percentile_of_nothing_or_beyond_all_is_an_error(values, share):
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_medians_and_spread_take_the_rounds_that_have_the_figure():
    rounds = [{"a": 1.0, "b": 5.0}, {"a": 9.0}, {"a": 2.0}]
    assert medians(rounds) == {"a": 2.0, "b": 5.0}
    assert spread(rounds, "a") == (1.0, 9.0)
    assert spread(rounds, "c") is None
    assert medians([]) == {}


def test_a_ratio_needs_both_figures():
    assert ratio(1.0, 2.0) == 0.5
    assert ratio(None, 2.0) is None
    assert ratio(1.0, None) is None
    assert ratio(1.0, 0.0) is None
