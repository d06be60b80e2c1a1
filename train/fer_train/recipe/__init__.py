"""The recipe of a training run: its settings, read from one TOML file."""
