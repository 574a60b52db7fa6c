"""`python -m device_sims` is the command `device-sims`."""

from device_sims.cli import main

if __name__ == "__main__":
    main()
