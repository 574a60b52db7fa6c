"""The event log: the single source of truth, in SQLite. The only package that knows of SQLite."""
