"""TLS for both sides of a connection; both must show a certificate."""

import ssl

from ctcycle.config.tasks.node import TLSSettings
from ctcycle.errors import ConfigError


def server_context(settings: TLSSettings) -> ssl.SSLContext:
    """Return the context of a server that demands a certificate of each peer.

    Raises:
        ConfigError: a certificate or key cannot be read.
    """
    return _context(settings, ssl.Purpose.CLIENT_AUTH)


def client_context(settings: TLSSettings) -> ssl.SSLContext:
    """Return the context of a client that verifies certificate and name of the server, and shows its own.

    Raises:
        ConfigError: a certificate or key cannot be read.
    """
    return _context(settings, ssl.Purpose.SERVER_AUTH)


def _context(settings: TLSSettings, purpose: ssl.Purpose) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(purpose, cafile=settings.authorities)
        context.load_cert_chain(settings.certificate, settings.key, password="")
    except OSError as error:  # ssl.SSLError is one
        what = f"{settings.certificate}, {settings.key}, {settings.authorities}"
        raise ConfigError(f"tls: cannot read {what} ({error.strerror or error}); give PEM files") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    return context
