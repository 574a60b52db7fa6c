"""One TOML file, read strictly: a wrong key or value is an error that says what to write instead."""
