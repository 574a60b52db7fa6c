"""From a message to an event: stamped, counted, stored once, and acknowledged only when it is on disk."""
