"""Settings of the gateway that are measured against each other, by name: what each adds, and what it may cost.

The first is the gateway with its doors open, to which the others are compared.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from gateway.broker.login import hash_password

PASSWORD = "correct horse"
DEVICES_MAX = 100


class Guard(NamedTuple):
    """Parts of a configuration."""

    what: str
    broker: str
    """Lines of section [broker]."""
    sections: str = ""
    """Further sections."""
    password: str = ""
    """Devices log in with it, each under its client id; empty: without a login."""
    at_least: float | None = None
    """The goal: so much of the ingest with open doors."""


@functools.cache
def _logins() -> str:
    hashed = hash_password(PASSWORD)
    users = (f'"bench-{number:02d}" = {{ password = "{hashed}", role = "sensor" }}' for number in range(DEVICES_MAX))
    return "[broker.users]\n" + "\n".join(users)


_RIGHTS = """
[rights]
publish = []
subscribe = []

[roles.sensor]
preset = "tasmota"
publish = ["devices/{username}/#", "devices/{client_id}/#", "alarms/+/{username}"]
subscribe = ["commands/{username}/#"]
"""
_LIMITS = """\
publish_rate_max = 1000000
connections_per_address_max = 1000
topic_bytes_max = 256
topic_levels_max = 8
"""
_CONTRACTS = """
[ingest]
without_contract = "refuse"

[contracts.measurement]
topic = "devices/{device}/m"
extra = "forbid"

[contracts.measurement.fields]
n = { type = "string", length_min = 8, length_max = 8 }
temperature = { type = "number", unit = "Cel", min = -40, max = 85 }
humidity = { type = "number", unit = "%", min = 0, max = 100 }
unit = { type = "string", enum = ["C", "F"] }
note = { type = "string", required = false, length_max = 100 }
"""
"""What `frames.payload` is."""


def guards() -> dict[str, Guard]:
    """All of them; open doors come first."""
    return {
        "open": Guard("anybody may do everything", "allow_anonymous = true"),
        "guarded": Guard(
            "logins, a role with a preset, every limit that is off by default",
            _LIMITS,
            _logins() + _RIGHTS,
            PASSWORD,
            at_least=0.85,
        ),
        "contracts": Guard(
            "open doors, and every payload judged by a contract of five fields",
            "allow_anonymous = true",
            _CONTRACTS,
            at_least=0.75,
        ),
        "both": Guard("guarded, with contracts", _LIMITS, _logins() + _RIGHTS + _CONTRACTS, PASSWORD),
    }
