"""The interoperability suite of Eclipse Paho against a gateway: `python tests/paho/run.py CHECKOUT`.

The suite (github.com/eclipse-paho/paho.mqtt.testing, `interoperability/client_test.py`) is read from a checkout that is
no part of this repository. Its will test, which unittest does not collect for its name, is run as well: 11 in all. The
exit code is 0 if all pass.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.site.gateway_process import GatewayProcess

TOPICS = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
WILDCARDS = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")
NOT_SUBSCRIBED = ("test/nosubscribe",)
"""What client_test.py sets when it is run as a program; nobody may subscribe to the last."""
NEEDS_A_REFUSAL = "test_subscribe_failure"
"""Needs a topic that may not be subscribed to. The others subscribe to '+/+' and '#', which cover that topic and would
have to be refused too; so this one has a gateway of its own, with other rights."""
GATEWAYS = {
    # the suite goes on with the connection on which it published to a topic with '$'
    "paho": '[rights]\non_refused_publish = "drop"\n',
    "paho-narrow": '[rights]\npublish = ["TopicA"]\nsubscribe = ["TopicA/#"]\n',
}
TESTS = 11


def suites_of(checkout: Path) -> dict[str, unittest.TestSuite]:
    """What is run against each gateway."""
    module = _client_test(checkout)
    module.topics, module.wildtopics, module.nosubscribe_topics = TOPICS, WILDCARDS, NOT_SUBSCRIBED
    names = [*unittest.defaultTestLoader.getTestCaseNames(module.Test), "will_message_test"]
    wide = [module.Test(name) for name in names if name != NEEDS_A_REFUSAL]
    narrow = [module.Test(name) for name in names if name == NEEDS_A_REFUSAL]
    return dict(zip(GATEWAYS, (unittest.TestSuite(wide), unittest.TestSuite(narrow)), strict=True))


def _client_test(checkout: Path) -> Any:
    folder = str(checkout / "interoperability")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("client_test")


def run(checkout: Path) -> list[unittest.TestResult]:
    """Run each suite against its gateway."""
    module, results = _client_test(checkout), []
    for name, suite in suites_of(checkout).items():
        with tempfile.TemporaryDirectory() as folder:
            gateway = GatewayProcess(Path(folder), name, GATEWAYS[name]).start()
            module.host, module.port = "127.0.0.1", gateway.port
            try:
                results.append(unittest.TextTestRunner(verbosity=2).run(suite))
            finally:
                gateway.kill()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the suite of Eclipse Paho against a gateway.")
    parser.add_argument("checkout", type=Path, help="of eclipse-paho/paho.mqtt.testing")
    checkout = parser.parse_args().checkout
    if not (checkout / "interoperability" / "client_test.py").is_file():
        print(f"{checkout} is no checkout of github.com/eclipse-paho/paho.mqtt.testing", file=sys.stderr)  # noqa: T201
        return 2
    results = run(checkout.resolve())
    failed = [str(test).split()[0] for result in results for test, _ in result.failures + result.errors]
    passed = sum(result.testsRun for result in results) - len(failed)
    print(f"{passed} of {TESTS} passed" + (f"; failed: {', '.join(failed)}" if failed else ""))  # noqa: T201
    return 0 if passed == TESTS else 1


if __name__ == "__main__":
    sys.exit(main())
