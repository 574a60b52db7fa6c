"""A broker that is there already, as the source of events instead of the embedded one."""
