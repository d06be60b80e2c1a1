"""The runtime's settings: definitions, loading from TOML, flags and environment, and secrets."""
