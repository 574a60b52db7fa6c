"""How the gateway tells that it is well: to systemd, and to the journal."""
