"""paho's client with the login and the limits that the sink and ``fer-edge doctor`` share.

This module imports paho; import it only where MQTT is used.
"""

from __future__ import annotations

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from fer_edge.settings.secret_files import read_secret
from fer_edge.settings.service import MqttSettings
from fer_edge.sinks.tls import tls_context

MAX_PACKET_BYTES = 1 << 16
"""Limit for a packet from the broker. The largest that is subscribed to is what the device itself has retained."""


class LimitedClient(Client):
    """A client that logs in as ``settings`` specify, and closes the connection if the broker sends a large packet.

    Raises:
        ConfigError: if a password file or certificate cannot be used.
    """

    cause: str | None = None
    """Why the connection ends, if that is known better than paho knows it."""

    def __init__(self, settings: MqttSettings, client_id: str, connect_timeout_s: float) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, clean_session=True, protocol=MQTTv311)
        self.connect_timeout = connect_timeout_s
        if settings.username is not None:
            password_file = settings.password_file
            password = None if password_file is None else read_secret(password_file, "mqtt.password_file")
            self.username_pw_set(settings.username, password)
        if settings.tls:
            self.tls_set_context(tls_context("mqtt.{}_file", settings.ca_file, settings.cert_file, settings.key_file))

    def _sock_recv(self, bufsize: int) -> bytes:
        """Refuse a large packet: paho asks for all the bytes that are missing of one, and would keep them in memory."""
        if bufsize > MAX_PACKET_BYTES:
            self.cause = f"the broker sends a packet of {bufsize} bytes; up to {MAX_PACKET_BYTES} are accepted"
            raise ConnectionError
        return super()._sock_recv(bufsize)
