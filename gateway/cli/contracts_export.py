"""`gateway contracts export`: what this gateway accepts and emits, as documents for other programs."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import Annotated, Any

import typer

from gateway.cli.options import ConfigOption, read_config
from gateway.contracts.build import build
from gateway.errors import ConfigError
from gateway.export.asyncapi import document
from gateway.export.schemas import schemas

_FORMATS = ("asyncapi", "jsonschema")


def export(
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="asyncapi|jsonschema", help="AsyncAPI 3.0, or JSON Schemas.")
    ] = "asyncapi",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write files there instead of printing.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Tell everything that this gateway accepts from devices and sends to its upstreams, as JSON.

    asyncapi: one document, asyncapi.json. jsonschema: a schema for each contract and each envelope, NAME.schema.json.
    """
    if form not in _FORMATS:
        raise typer.BadParameter(f"--format {form!r}: write asyncapi or jsonschema")
    settings = read_config(config)
    contracts = build(settings.contracts, settings.ingest.without_contract)
    if form == "asyncapi":
        whole = document(settings, contracts)
        files = {"asyncapi.json": whole}
    else:
        whole = schemas(settings, contracts)
        files = {f"{name}.schema.json": schema for name, schema in whole.items()}
    if output is None:
        typer.echo(_text(whole))
    else:
        _write(output, files)


def _write(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(_text(content) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written: {error.strerror}", "Name a folder with --output DIR."
        ) from error
    for name in files:
        typer.echo(str(folder / name))


def _text(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)
