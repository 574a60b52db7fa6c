"""From the log to the upstreams: the port, the loop that drives it, and nothing about any protocol."""
