"""Every case of the table, played before one gateway on real sockets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.conformance.broker.stage import Stage
from tests.conformance.broker.statements import STATEMENTS
from tests.conformance.broker.table import CASES
from tests.site.gateway_process import GatewayProcess
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.broker.steps import Case


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    # Topics as long as the protocol allows; what shorter limits do is told in tests/security/test_limits.py.
    broker = "allow_anonymous = true\ntopic_bytes_max = 65535\ntopic_levels_max = 65535"
    process = GatewayProcess(tmp_path_factory.mktemp("conformance"), "edge", broker=broker).start()
    yield process
    process.kill()
    assert "Traceback" not in process.log(), process.log()


@pytest.fixture(scope="module")
def bystander(gateway: GatewayProcess) -> Iterator[RawClient]:
    """A client whose connection lasts over all the cases."""
    with RawClient(gateway.port) as client:
        yield client.join("bystander")


@pytest.mark.parametrize(("number", "case"), list(enumerate(CASES)), ids=[case.name for case in CASES])
def test_what_packets_are_answered_with(gateway: GatewayProcess, bystander: RawClient, number: int, case: Case) -> None:
    with Stage(gateway.port, f"{number:04}", bystander) as stage:
        stage.play(case)
    bystander.ping()


def test_the_table_is_sound() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 250
    assert {number for case in CASES for number in case.covers} <= set(STATEMENTS)
    assert not [case.name for case in CASES if not case.covers or re.search(r"[|`]", case.name)]
