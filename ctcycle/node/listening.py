"""Addresses to listen on."""

import socket

from ctcycle.errors import OutputError


def check_free(host: str, port: int, key: str) -> None:
    """Check that an address can be listened on.

    Args:
        host: the address.
        port: the port.
        key: the config key to name in the error.

    Raises:
        OutputError: it cannot, most often because another program does.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], found[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError as error:
        raise OutputError(
            f"{host}:{port}: cannot listen ({error.strerror}); stop the program that does, or choose another {key}"
        ) from error
