from benchmarks.hostile import Figures


def figures(**changes):
    return Figures(600, 1.0, 10.0, 20.0, 3.0, 0.5, 0, 0.1)._replace(**changes)


def test_goals_are_for_latency_memory_and_sockets():
    assert figures().missed("resets") == []
    assert figures(p99_ms=50.0).missed("resets") == ["p99 over 50 ms"]
    assert figures(grown_mb=20.1).missed("resets") == ["more than 20 MB"]
    assert figures(grown_mb=5.1, sockets_left=1).missed("failed logins") == ["more than 5 MB", "sockets left"]
