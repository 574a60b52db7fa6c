"""`gateway check`: is the configuration right?"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import typer

from gateway.broker.config import is_loopback
from gateway.cli import certificates
from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.config import load
from gateway.contracts import ucum
from gateway.external.config import ExternalBrokerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.broker.config import BrokerConfig
    from gateway.config.model import Config
    from gateway.contracts.config import FieldConfig


def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check the configuration without starting anything; prints what would run."""
    settings = read_config(config)
    data_dir = settings.gateway.data_dir
    nearest = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    warnings = []
    if not os.access(nearest, os.W_OK | os.X_OK):
        warnings.append(f"gateway.data_dir: {data_dir} is not writable for this user (uid {os.getuid()})")
    if not settings.upstreams:
        warnings.append("no [upstreams.<name>] section: events are stored and go nowhere")
    if settings.ingest.without_contract != "allow" and not settings.contracts:
        fate = "flagged" if settings.ingest.without_contract == "flag" else "refused"
        warnings.append(f"ingest.without_contract: there is no [contracts.<name>] section, so every message is {fate}")
    broker = settings.broker
    way_in: dict[str, object] = {}
    if isinstance(broker, ExternalBrokerConfig):
        way_in["source"] = f"{broker.url}, topics {', '.join(broker.topics)}"
        warnings += _path(broker)
    else:
        way_in["listen"] = broker.listen
        warnings += _doors(broker)
    warnings += _units(settings) + certificates.verify(settings)
    report = {
        "config": str(load.find(config)),
        "id": settings.gateway.id,
        "data_dir": str(data_dir),
        **way_in,
        "upstreams": {name: f"{each.type} {each.url}" for name, each in settings.upstreams.items()},
        "contracts": {name: f"{each.topic} {each.codec}" for name, each in settings.contracts.items()},
        "warnings": warnings,
    }
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"{report['config']} is right.")
    typer.echo(f"  gateway   {settings.gateway.id}, data in {data_dir}")
    if isinstance(broker, ExternalBrokerConfig):
        typer.echo(f"  source    {way_in['source']}")
    else:
        typer.echo(f"  listens   {', '.join(broker.listen)}")
    for name, each in settings.upstreams.items():
        typer.echo(f"  upstream  {name}: {each.type} {each.url}, topics {', '.join(each.topics)}")
    for name, contract in settings.contracts.items():
        typer.echo(f"  contract  {name}: {contract.topic}, {contract.codec}, {contract.policy}")
    for warning in warnings:
        typer.echo(f"  warning   {warning}")


def _path(broker: ExternalBrokerConfig) -> list[str]:
    """What is wrong with the way from an external broker."""
    if broker.address.tls or is_loopback(broker.address.host):
        return []
    return ["broker.url: password and messages cross the network readable; write mqtts:// if the broker has TLS"]


def _units(settings: Config) -> list[str]:
    """Units that are right, and perhaps not what was meant."""
    warnings = []

    def look(key: str, fields: Mapping[str, FieldConfig]) -> None:
        for name, field in fields.items():
            doubt = ucum.doubt(field.unit or "")
            if doubt is not None:
                warnings.append(f"{key}.{name}.unit: {field.unit!r} is {doubt}")
            look(f"{key}.{name}.fields", field.fields or {})
            look(f"{key}.{name}", {"items": field.items} if field.items else {})

    for name, contract in settings.contracts.items():
        look(f"contracts.{name}.fields", contract.fields or {})
        look(f"contracts.{name}", {"value": contract.value} if contract.value else {})
    return warnings


def _doors(broker: BrokerConfig) -> list[str]:
    """Who cannot come in and should, or the other way round."""
    warnings = []
    by_certificate = broker.tls is not None and broker.tls.client_certificate == "required"
    if not broker.users and not broker.allow_anonymous and not by_certificate:
        warnings.append("broker.users is empty: no device can connect but those that `gateway devices add` has stored")
    for address in broker.addresses():
        if address.is_loopback:
            continue
        asks_nobody = broker.allow_anonymous and not (address.has_tls and by_certificate)
        if asks_nobody:
            warnings.append(
                f"broker.listen: ANYBODY who reaches {address} may connect without a login, because allow_anonymous is "
                "true; remove that, or listen on 127.0.0.1"
            )
        if not address.has_tls:
            warnings.append(
                f"broker.listen: passwords and messages cross the network readable on {address}; "
                "listen with TLS there (gateway init makes what it takes)"
            )
    return warnings
