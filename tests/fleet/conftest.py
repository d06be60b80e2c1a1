"""A PostgreSQL server and a broker for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.servers.mosquitto import Broker
from support.servers.postgresql import PostgreSql, postgresql_server


@pytest.fixture(scope="package")
def server() -> Iterator[PostgreSql]:
    """A server; its start takes seconds."""
    with postgresql_server() as running:
        yield running


@pytest.fixture
def database(server: PostgreSql) -> Iterator[str]:
    """The URL of a database without tables of ours."""
    yield server.url
    with psycopg.connect(server.url) as connection:
        connection.execute("DROP SCHEMA IF EXISTS fleet CASCADE")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path, "allow_anonymous true", "max_inflight_messages 1000")
    running.start()
    yield running
    running.stop()
