"""`gateway demo`."""

import typer


def demo() -> None:
    """Being written."""
    raise typer.Exit(1)
