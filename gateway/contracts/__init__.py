"""What a payload must be: contracts bound to topics, judged before a message becomes an event."""
