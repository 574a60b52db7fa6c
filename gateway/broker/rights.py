"""What a client may publish and subscribe to. Pure.

So far one rule for all: topics that begin with '$' belong to the gateway. Rights per device take their place here; a
connection asks once per topic and remembers the answer.
"""

from __future__ import annotations


class Rights:
    """Decides by client id and topic."""

    def may_publish(self, client_id: str, topic: str) -> bool:  # noqa: ARG002 - see the module
        """Whether the client may publish to `topic`."""
        return not topic.startswith("$")

    def may_subscribe(self, client_id: str, topic_filter: str) -> bool:  # noqa: ARG002 - see the module
        """Whether the client may subscribe to `topic_filter`."""
        return not topic_filter.startswith("$share/")
