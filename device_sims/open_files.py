"""Room for one socket per device: many systems allow a process 1024 open files unless it asks for more."""

import resource

from device_sims.errors import SimsError

BESIDE_SOCKETS = 64


def raise_open_files_limit(devices: int) -> None:
    """Ask for as many open files as `devices` connections need.

    Raises:
        SimsError: the system does not allow it.
    """
    needed = devices + BESIDE_SOCKETS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SimsError(
            f"{devices} devices need {needed} open files, the system allows {hard}",
            hint=f"raise the limit (ulimit -Hn {needed}) or split the fleet",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
