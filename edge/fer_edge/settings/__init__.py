"""Runtime settings: definitions, loading from TOML, environment and flags, and files with secrets."""
