from benchmarks.report import Goal, as_json, panels, summary, table


def line(rounds, name):
    return next(one for one in summary(rounds) if one["measure"].name == name)


def test_a_goal_of_a_ratio_compares_medians():
    rounds = {"gateway": [{"ingest_per_s": 80.0}, {"ingest_per_s": 100.0}], "mosquitto": [{"ingest_per_s": 100.0}]}
    assert line(rounds, "ingest_per_s")["ratio"] == 0.9
    assert line(rounds, "ingest_per_s")["met"] is True
    rounds["mosquitto"] = [{"ingest_per_s": 101.0}]
    assert line(rounds, "ingest_per_s")["met"] is False


def test_a_goal_without_its_figures_is_neither_met_nor_missed():
    rounds = {"gateway": [{"ingest_per_s": 40.0, "peak_mb": 80.0}], "mosquitto": []}
    assert line(rounds, "ingest_per_s")["met"] is None
    assert line(rounds, "peak_mb")["met"] is False
    assert Goal(below=80).met(None, None) is None


def test_the_table_has_a_row_for_every_measure_and_the_json_every_round():
    rounds = {"gateway": [{"ingest_per_s": 1.0}, {"ingest_per_s": 3.0}], "mosquitto": []}
    assert table(rounds, judged=True).row_count == len(summary(rounds))
    data = as_json(rounds, {"at": "now"})
    assert data["summary"]["ingest_per_s"]["gateway"] == 2.0
    assert data["rounds"] is rounds


def test_a_goal_is_a_bound_for_a_figure_from_above_or_from_below():
    assert [Goal(below=2).met(value) for value in (1.9, 2.0)] == [True, False]
    assert [Goal(at_most=2).met(value) for value in (2.0, 2.1)] == [True, False]
    assert [Goal(at_least=2).met(value) for value in (1.9, 2.0)] == [False, True]
    assert Goal(at_least=20_000).verdict(1.0) == "≥ 20,000 [red]missed[/]"
    assert Goal(at_least_ratio=0.4).verdict(1.0, 0.5) == "ratio ≥ 0.4 [green]met[/]"


def test_the_diagrams_show_the_curves_that_there_are():
    throughput, memory = panels({"gateway": {"ingest_per_s": [(1.0, 2.0)], "drain_mb": [(3.0, 4.0)]}, "mosquitto": {}})
    assert throughput.curves == {"gateway, ingest": [(1.0, 2.0)]}
    assert memory.curves == {"gateway, drain": [(3.0, 4.0)]}
