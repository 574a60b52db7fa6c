"""Tables and plain data."""

from rich.console import Console

from device_sims.fleet_run import Outcome
from device_sims.progress import Progress
from device_sims.report import facts_table, live_line, run_facts, verdict_facts, verdict_table
from device_sims.verdict import judge

VERDICT = judge([("good", 1), ("bad", 1), ("bad", 2)], [("good", 1), ("bad", 2)])


def rendered(table):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_verdict_lists_the_devices_with_findings_and_all_on_request():
    facts = verdict_facts(VERDICT, every_device=False)
    assert [device["device"] for device in facts["devices"]] == ["bad"]
    assert facts["total"]["lost"] == 1
    assert not facts["ok"]
    assert len(verdict_facts(VERDICT, every_device=True)["devices"]) == 2


def test_a_verdict_table_has_a_total_below_the_findings():
    lines = rendered(verdict_table(VERDICT, every_device=False))
    assert "bad" in lines
    assert "good" not in lines
    assert "total" in lines


def test_a_summary_survives_a_run_that_took_no_time():
    facts = run_facts("demo", 1, Outcome(Progress(), 0.0))
    assert facts["sent_per_s"] == 0.0
    assert "demo" in rendered(facts_table(facts))


def test_the_live_line_mentions_skipped_events_only_if_there_are_some():
    assert "skipped" not in live_line("demo", 2, Progress(), 1.0)
    assert "skipped 5" in live_line("demo", 2, Progress(skipped=5), 1.0)
