"""TLS for the sinks that connect to a server."""

from __future__ import annotations

import ssl
from pathlib import Path

from fer_edge.errors import ConfigError
from fer_edge.settings.secret_files import refuse_shared
from fer_edge.system.files import open_regular


def tls_context(
    name: str, ca_file: str | None, cert_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """Return a context that trusts ``ca_file`` (by default the system's authorities) and presents ``cert_file``.

    Args:
        name: How messages name a file, with ``{}`` for ca, cert or key: ``mqtt.{}_file``.

    Raises:
        ConfigError: if a file cannot be used.
    """
    try:
        _check_regular(ca_file)
        context = ssl.create_default_context(cafile=ca_file)
        if ca_file is not None:
            # Since Python 3.13 the default. It refuses an authority without the extension keyUsage, such as one made by
            # `openssl req -x509`: files that work on Bookworm should work on Trixie.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    except OSError as error:
        raise ConfigError(f"{name.format('ca')}: cannot use {ca_file}: {error.strerror or error}") from None
    if cert_file is not None and key_file is not None:
        try:
            refuse_shared(Path(key_file).stat().st_mode, Path(key_file), name.format("key"))
            _check_regular(cert_file)
            _check_regular(key_file)
            # An empty password: OpenSSL must not prompt for one.
            context.load_cert_chain(cert_file, key_file, password="")
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{name.format('cert')}: cannot use {cert_file} and {key_file}: {reason}") from None
    return context


def _check_regular(name: str | None) -> None:
    """Open the file and close it again: OpenSSL would block while it opens a FIFO. Raises OSError."""
    if name is not None:
        open_regular(Path(name)).close()
