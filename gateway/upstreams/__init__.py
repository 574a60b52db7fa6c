"""One module per kind of upstream: its config model and its class side by side."""
