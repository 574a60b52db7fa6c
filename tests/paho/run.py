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
BROKER = "allow_anonymous = true"
TESTS = 11


def suite_of(checkout: Path, port: int) -> unittest.TestSuite:
    sys.path.insert(0, str(checkout / "interoperability"))
    module: Any = importlib.import_module("client_test")
    module.host, module.port = "127.0.0.1", port
    module.topics, module.wildtopics, module.nosubscribe_topics = TOPICS, WILDCARDS, NOT_SUBSCRIBED
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.Test)
    suite.addTest(module.Test("will_message_test"))
    return suite


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the suite of Eclipse Paho against a gateway.")
    parser.add_argument("checkout", type=Path, help="of eclipse-paho/paho.mqtt.testing")
    checkout = parser.parse_args().checkout
    if not (checkout / "interoperability" / "client_test.py").is_file():
        print(f"{checkout} is no checkout of github.com/eclipse-paho/paho.mqtt.testing", file=sys.stderr)  # noqa: T201
        return 2
    with tempfile.TemporaryDirectory() as folder:
        gateway = GatewayProcess(Path(folder), "paho", broker=BROKER).start()
        try:
            result = unittest.TextTestRunner(verbosity=2).run(suite_of(checkout.resolve(), gateway.port))
        finally:
            gateway.kill()
    failed = [str(test).split()[0] for test, _ in result.failures + result.errors]
    passed = result.testsRun - len(failed)
    print(f"{passed} of {TESTS} passed" + (f"; failed: {', '.join(failed)}" if failed else ""))  # noqa: T201
    return 0 if passed == TESTS else 1


if __name__ == "__main__":
    sys.exit(main())
