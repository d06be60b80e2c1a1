"""How to reach the database."""

from __future__ import annotations

from typing import Any

import psycopg

from fer_edge.errors import ConfigError, OutputError, reason_of

# A server that vanishes without closing the connection is noticed within half a minute.
_OPTIONS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "tcp_user_timeout": 30_000,
}


def check_url(url: str) -> None:
    """Raise ConfigError unless ``url`` is the URL of a PostgreSQL database."""
    try:
        parsed = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parsed = {}
    if not url.startswith(("postgresql://", "postgres://")) or not parsed.get("dbname"):
        raise ConfigError("--database: must be postgresql://USER@HOST:PORT/DATABASE")


def connect(url: str, **options: Any) -> psycopg.Connection[Any]:
    """Return a connection to the database ``url``. Raises psycopg.Error."""
    return psycopg.connect(url, **_OPTIONS, **options)


def database_error(error: psycopg.Error) -> OutputError:
    """Return ``error`` as one of ours."""
    return OutputError(f"--database: cannot use it: {reason_of(error)}")
