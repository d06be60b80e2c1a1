"""``fer-edge service``: the daemon as a systemd unit. ``fer-edge.service`` and ``config.toml`` are templates."""
