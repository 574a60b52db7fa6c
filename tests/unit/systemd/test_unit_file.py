"""The unit file keeps its promises: always brought back, watched, in a sandbox, under a user of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.broker.config import BrokerConfig, TlsConfig
from gateway.upstreams.mqtt import MqttUpstreamConfig

SYSTEMD_DIR = Path(__file__).parents[3] / "systemd"
UNIT = SYSTEMD_DIR / "gateway.service"
EXPOSURE_MAX = 1.5
"""On the scale of `systemd-analyze security`, from 0.0 (shut) to 10.0 (open)."""

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian: apt install systemd)",
)


def directives() -> list[str]:
    """The lines of the unit that systemd reads."""
    lines = (line.strip() for line in UNIT.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False)


@needs_systemd_analyze
def test_sandbox_leaves_little_exposed() -> None:
    report = analyze("security", "--offline=true", "--no-pager", UNIT)
    overall = re.search(r"Overall exposure level for gateway\.service: ([0-9.]+)", report.stdout)
    assert overall, report.stdout + report.stderr
    assert float(overall[1]) <= EXPOSURE_MAX, report.stdout


@needs_systemd_analyze
def test_systemd_has_no_complaint(tmp_path: Path) -> None:
    # /opt/gateway is not on the machine that runs the tests; a program that is everywhere takes its place. The examples
    # of credentials hold as well.
    text = re.sub(r"(?m)^#LoadCredential=", "LoadCredential=", UNIT.read_text(encoding="utf-8"))
    text, replaced = re.subn(r"(?m)^(Exec\w+)=\S+", r"\1=/bin/true", text)
    assert replaced == 2
    unit = tmp_path / UNIT.name
    unit.write_text(text, encoding="utf-8")
    verdict = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    complaints = [line for line in verdict.stderr.splitlines() if UNIT.name in line]
    assert (verdict.returncode, complaints) == (0, []), verdict.stderr


@pytest.mark.parametrize(
    "directive",
    [
        "Type=notify",
        "NotifyAccess=main",
        "WatchdogSec=30",
        "Restart=always",
        "RestartSec=2",
        "FileDescriptorStoreMax=64",
        "StartLimitIntervalSec=0",
        "User=gateway",
        "Group=gateway",
        "StateDirectory=gateway",
        "StateDirectoryMode=0750",
        "ConfigurationDirectory=gateway",
        "ExecStart=/opt/gateway/.venv/bin/gateway run --config /etc/gateway/gateway.toml",
        "Environment=GATEWAY__GATEWAY__DATA_DIR=%S/gateway",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "WantedBy=multi-user.target",
    ],
)
def test_unit_says(directive: str) -> None:
    assert directives().count(directive) == 1


def test_service_waits_for_neither_uplink_nor_clock() -> None:
    unit = "\n".join(directives())
    assert "network-online.target" not in unit
    assert "time-sync.target" not in unit


def test_boot_id_stays_readable() -> None:
    assert "ProcSubset=pid" not in directives()


def test_the_kernel_can_be_asked_for_its_clock_and_not_told() -> None:
    lines = directives()
    assert "ProtectClock=no" in lines
    assert lines.index("SystemCallFilter=adjtimex clock_adjtime clock_adjtime64") > lines.index(
        "SystemCallFilter=~@privileged @resources"
    )
    assert "CapabilityBoundingSet=" in lines
    assert not any("CAP_SYS_TIME" in line or "settime" in line or "@clock" in line for line in lines)


def test_user_of_the_unit_is_the_one_sysusers_makes() -> None:
    lines = (SYSTEMD_DIR / "gateway.sysusers").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("u ")]
    assert [f"User={user}" for user in users] == [line for line in directives() if line.startswith("User=")]


def test_every_secret_that_the_configuration_can_name_has_an_example_as_a_credential() -> None:
    text = UNIT.read_text(encoding="utf-8")
    examples = {line.partition("=")[2].partition(":")[0] for line in text.splitlines() if "LoadCredential=" in line}
    named = dict(re.findall(r'(password_file|key_file|key) = "([^"]+)"', text))
    assert set(named.values()) == examples
    secret = re.compile(r"password|secret|(^|_)key(_|$)")
    sections = [BrokerConfig, TlsConfig, MqttUpstreamConfig]
    paths = {
        name
        for model in sections
        for name, field in model.model_fields.items()
        if secret.search(name) and field.annotation in {str, str | None}
    }
    assert paths == set(named)
