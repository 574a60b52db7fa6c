from benchmarks import retention, scale, slow_card, wear

RESULT = {
    "events": 1_000_000,
    "disk_bytes_per_event": 150.0,
    "lost": 0,
    "starts": [
        {"backlog": 0, "start_s": 3.0, "rss_mb": 50.0},
        {"backlog": 10_000, "start_s": 0.5, "rss_mb": 55.0},
        {"backlog": 1_000_000, "start_s": 1.5, "rss_mb": 53.0},
    ],
    "ingest": [(10_000.0, 300.0)] * 5 + [(1_000_000.0, 100.0)] * 5,
    "drain": [(1_000_000.0, 100.0)] * 5 + [(10_000.0, 300.0)] * 5,
    "memory": {"ingest": [(0.0, 60.0)], "drain": [(0.0, 70.0), (5.0, 65.0)]},
    "small": {
        "starts": [{"backlog": 100_000, "start_s": 9.0, "rss_mb": 99.0}],
        "ingest": [(50_000.0, 100.0)] * 5,
        "drain": [(50_000.0, 200.0)] * 5,
    },
}


def test_scale_compares_with_the_empty_gateway_and_with_the_one_of_a_small_backlog():
    assert scale.verdicts(RESULT) == {
        "start_s": 1.5,
        "highest_mb": 70.0,
        "started_above_empty_mb": 5.0,
        "highest_above_empty_mb": 20.0,
        "ingest_ratio": 1.0,
        "drain_ratio": 0.5,
        "lost": 0,
    }


def test_scale_shows_a_row_for_every_start_and_every_goal():
    points, goals = scale.tables(RESULT)
    assert (points.row_count, goals.row_count) == (4, len(scale.GOALS))


def test_every_case_of_the_other_commands_has_its_row():
    figures = {"payload_bytes": 100.0, "written_bytes": 400.0, "events_per_sync": 50.0}
    assert wear.table({case.label: figures for case in wear.CASES}).row_count == len(wear.CASES)
    row = {"delay_ms": 20.0, "acked_per_s": 1.0, "events_per_sync": 1.0, "ack_p50_ms": 1.0, "ack_p99_ms": 1.0}
    assert slow_card.table([row, row]).row_count == 2
    delays = {f"{end}_{name}_ms": 1.0 for end in ("ack", "upstream") for name in ("p50", "p99", "max")}
    sides = {"keeping": {"segments": 9.0, **delays}, "deleting": {"segments": 2.0, **delays}}
    assert retention.table({"case": sides}).row_count == 2 + len(delays)
