"""The broker of ``[mqtt]``: address, credentials and TLS."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge.errors import ConfigError
from fer_edge.settings.secret_files import read_secret
from fer_edge.settings.service import MqttSettings

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Broker:
    """Address and credentials of a broker; ``repr`` omits the password."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None = field(repr=False)
    keepalive_s: int
    tls: ssl.SSLContext | None

    @property
    def where(self) -> str:
        """``host:port``, for messages."""
        return f"{self.host}:{self.port}"


def broker_of(settings: MqttSettings, device: str) -> Broker:
    """Return the broker of ``settings``, for the client of ``device``.

    Raises:
        ConfigError: if the password file or a certificate cannot be used.
    """
    password = None
    if settings.password_file is not None:
        password = read_secret(settings.password_file, "mqtt.password_file")
    return Broker(
        host=settings.host or "",
        port=settings.broker_port,
        # The same after a restart: a broker that has not noticed the end of the old connection then closes it, and
        # publishes its last will before the new connection publishes ``online``.
        client_id=f"fer-edge-{device}",
        username=settings.username,
        password=password,
        keepalive_s=settings.keepalive_s,
        tls=_tls_context(settings) if settings.tls else None,
    )


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise ConfigError(f"mqtt.ca_file: cannot use {settings.ca_file}: {error.strerror or error}") from None
    if settings.cert_file is not None and settings.key_file is not None:
        try:
            if Path(settings.key_file).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
                raise ConfigError(
                    f"mqtt.key_file: other users can read {settings.key_file}: chmod 600 {settings.key_file}"
                )
            # An empty password: OpenSSL must not prompt for one.
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except OSError as error:
            names = f"{settings.cert_file} and {settings.key_file}"
            raise ConfigError(f"mqtt.cert_file: cannot use {names}: {error.strerror or error}") from None
    return context
