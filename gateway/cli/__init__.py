"""The command `gateway`. Each module is one command; `main` joins them."""
