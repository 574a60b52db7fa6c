"""`gateway devices`: logins of devices."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.broker.login import hash_password

app = typer.Typer(help="Logins of devices.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Logins of devices."""


@app.command("hash")
def hash_(
    name: Annotated[str, typer.Argument(help="User name of the device.")],
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for if not given.")
    ],
) -> None:
    """Print the line to put under [broker.users]; only the hash of the password is kept."""
    typer.echo(f'"{name}" = "{hash_password(password)}"')
