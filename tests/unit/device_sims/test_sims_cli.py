"""The command line: what it refuses, how it says so, and its exit codes. The rest is in the integration tests."""

import json
import resource

import pytest
from typer.testing import CliRunner

from device_sims.cli import app
from device_sims.errors import SimsError
from device_sims.event_loop import run_to_end
from device_sims.open_files import raise_open_files_limit

RUN = ["--url", "mqtt://127.0.0.1:1", "--duration", "0.1", "--settle", "0"]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_list_names_fleets_and_profiles():
    result = invoke("list", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert "demo" in [fleet["name"] for fleet in facts["fleets"]]
    assert "climate" in facts["profiles"]
    assert "load-500" in invoke("list").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run", "nosuch", *RUN],
        ["run", "demo", *RUN, "--qos", "3"],
        ["run", "demo", *RUN, "--rate", "0"],
        ["run", "demo", *RUN, "--username", "me"],
        ["run", "demo", "--url", "nonsense"],
        ["verify", "--url", "nonsense"],
    ],
)
def test_wrong_usage_exits_with_2_and_leaves_no_ledger(tmp_path, arguments):
    ledger = tmp_path / "ledger.db"
    given = [*arguments, "--ledger", ledger] if arguments else []
    result = invoke(*given)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert not ledger.exists()


def test_a_fleet_file_with_a_mistake_is_explained(tmp_path):
    fleet = tmp_path / "fleet.toml"
    fleet.write_text('[fleet]\nname = "x"\nsed = 1\n')
    result = invoke("run", fleet, *RUN, "--ledger", tmp_path / "ledger.db")
    assert result.exit_code == 2
    assert "fleet.sed: unknown key; write one of name, seed, topic" in result.stderr
    assert "hint:" in result.stderr


def test_a_broker_that_was_never_there_is_a_failure_that_says_so_and_leaves_a_finished_ledger(tmp_path):
    ledger = tmp_path / "ledger.db"
    result = invoke("run", "greenhouse", *RUN, "--duration", "1", "--ledger", ledger, "--json")
    assert result.exit_code == 1
    assert "no device is connected to mqtt://127.0.0.1:1: not connected" in result.stderr
    assert "error: no device ever connected" in result.stderr
    assert json.loads(result.stdout)["acknowledged"] == 0
    again = invoke("run", "greenhouse", *RUN, "--ledger", ledger)
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_verify_without_a_ledger_fails_at_its_timeout(tmp_path):
    result = invoke("verify", "--url", "mqtt://127.0.0.1:1", "--ledger", tmp_path / "none.db", "--timeout", "0.3")
    assert result.exit_code == 1
    assert "there is no ledger" in result.stderr


def test_verify_refuses_a_record_that_is_something_else(tmp_path):
    record = tmp_path / "record"
    record.write_text("text\nwithout an end")
    result = invoke("verify", "--url", "mqtt://127.0.0.1:1", "--ledger", tmp_path / "none.db", "--record", record)
    assert result.exit_code == 2
    assert "line 1 is no delivery" in result.stderr
    assert record.read_text() == "text\nwithout an end"


def test_a_fleet_larger_than_the_system_allows_is_refused_before_it_starts():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this system sets no limit to open files")
    with pytest.raises(SimsError, match="open files"):
        raise_open_files_limit(hard)


def test_room_for_a_small_fleet_is_always_there():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_open_files_limit(1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) >= before


def test_the_event_loop_returns_what_the_program_returns():
    async def program():
        return 7

    assert run_to_end(program()) == 7
