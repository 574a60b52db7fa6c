"""What the certificates in the files of a configuration are worth: for `check`, and for the status while none runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gateway.broker import tls
from gateway.cli import show
from gateway.client_tls import ClientTls
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.external.config import ExternalBrokerConfig
from gateway.upstreams import kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from gateway.certificates import Certificate
    from gateway.config.model import Config


def read(settings: Config) -> tuple[list[Certificate], list[ConfigError]]:
    """The certificates in the files, and why others cannot be used."""
    sources: list[Callable[[], list[Certificate]]] = []
    broker = settings.broker
    if isinstance(broker, ExternalBrokerConfig):
        if broker.address.tls:
            sources.append(ClientTls(broker, "broker", broker.address.host).read)
    elif (server := broker.tls) is not None:
        sources.append(lambda: tls.load(server)[1])
    for name, upstream in settings.upstreams.items():
        client = kinds.tls_of(upstream, name)
        if client is not None:
            sources.append(client.read)
    found: list[Certificate] = []
    errors = []
    for source in sources:
        try:
            found += source()
        except ConfigError as error:
            errors.append(error)
    return found, errors


def describe(certificates: Iterable[Certificate]) -> list[dict[str, Any]]:
    """What `gateway status` tells of them; plain JSON values."""
    now_s = SystemClock().wall_ns() / 1e9
    return [each.describe(now_s) for each in certificates]


def print_all(facts: dict[str, Any]) -> None:
    """A line for each certificate of a status, those that need attention in colour."""
    for each in facts.get("certificates", []):
        until = f"valid until {each['valid_until']} ({each['days_left']:,} days)"
        text = f"certificate {show.plain(each['what'])} ({show.plain(each['where'])}): {each['problem'] or until}"
        typer.secho(text, fg="red" if each["problem"] else None)
    for problem in facts.get("certificate_problems", []):
        typer.secho(f"certificate {show.plain(problem)}", fg="red")


def verify(settings: Config) -> list[str]:
    """Warnings about certificates that work, and soon or on another machine will not.

    Raises:
        ConfigError: a certificate or a key cannot be used, or has expired.
    """
    certificates, errors = read(settings)
    warnings = []
    for error in errors:
        if not _is_credential(error):
            raise error
        warnings.append(f"{error}; it is looked up in $CREDENTIALS_DIRECTORY, which only the service has")
    for each in describe(certificates):
        if each["days_left"] < 0:
            raise ConfigError(
                f"{each['what']}: the certificate {each['where']} has {each['problem']}",
                "Make a new one (gateway init --renew, if `gateway init` made it).",
            )
        if each["problem"]:
            warnings.append(f"{each['what']}: {each['where']}: {each['problem']}")
    return warnings


def _is_credential(error: ConfigError) -> bool:
    """Whether it is about a file that systemd would have put where we do not see it."""
    missing = error.__cause__
    is_relative = isinstance(missing, FileNotFoundError) and not Path(str(missing.filename)).is_absolute()
    return is_relative and "CREDENTIALS_DIRECTORY" not in os.environ
