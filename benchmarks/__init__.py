"""Our gateway and Mosquitto's bridge, measured side by side in one run: `python -m benchmarks`."""
