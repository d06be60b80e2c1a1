"""``pi.toml``: its settings, their checks, and the secrets that it names."""
