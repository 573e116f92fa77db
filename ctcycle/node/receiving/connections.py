"""A server for associations that bounds what a peer can cost: connections, bytes and time.

pynetdicom reads as many bytes as a peer announces and waits for them without end; here a PDU, an object and the wait
have limits. Peers from unknown addresses are disconnected before anything is read.
"""

import logging
import socket
import ssl
import time
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from ctcycle.config.tasks.node import CallerSettings
from ctcycle.node.rarely import Rarely

ANY = "*"
"""AE title that stands for all."""

_LARGEST_REQUEST = 1 << 20
"""Bytes of a request for an association."""

_CONNECTIONS_PER_ASSOCIATION = 4
_log = logging.getLogger(__name__)
_rarely = Rarely(_log)


@dataclass(frozen=True)
class Bounds:
    """What one connection may cost.

    Attributes:
        pdu_bytes: largest PDU.
        object_bytes: largest object.
        idle_seconds: longest wait for a PDU that has begun.
    """

    pdu_bytes: int
    object_bytes: int
    idle_seconds: float


class BoundedSocket(AssociationSocket):
    """A socket that gives up on PDUs and objects that are too large, and on peers that are too slow."""

    bounds: Bounds
    _of_object = 0

    def object_complete(self) -> None:
        """Start counting the bytes of the next object."""
        self._of_object = 0

    def recv(self, nr_bytes: int) -> bytearray:
        """Read bytes from the peer; fewer if it disconnects.

        Raises:
            OSError: a limit is exceeded; the connection is closed.
        """
        self._of_object += nr_bytes
        if nr_bytes > max(self.bounds.pdu_bytes + 64, _LARGEST_REQUEST):
            self._give_up(f"a PDU of {nr_bytes} bytes; the limit is limits.pdu_kb")
        if self._of_object > self.bounds.object_bytes:
            self._give_up(f"an object of more than {self.bounds.object_bytes} bytes; the limit is limits.object_mb")
        content = bytearray(nr_bytes)
        view, filled = memoryview(content), 0
        deadline = time.monotonic() + self.bounds.idle_seconds
        while filled < nr_bytes:
            count = 0 if self.socket is None else self.socket.recv_into(view[filled:])
            if not count:
                view.release()
                return content[:filled]
            filled += count
            if time.monotonic() > deadline and filled < nr_bytes:
                self._give_up("a peer that is too slow; the limit is limits.idle_seconds")
        view.release()
        return content

    def _give_up(self, why: str) -> None:
        _rarely.warning("limit", f"connection closed: {why}")
        self._shutdown_socket()
        raise OSError(why)


class Entity(ApplicationEntity):
    """An application entity whose copies, one for each connection, count the associations of their server together.

    Attributes:
        server: the server; set once it is made.
    """

    server: "BoundedServer | None" = None

    @property
    def active_associations(self) -> list[Association]:
        """The open associations of the server."""
        return [] if self.server is None else self.server.active_associations


class BoundedHandler(RequestHandler):
    """Prepares an association: its limits, and the AE titles that may call from its address."""

    server: "BoundedServer"

    @property
    def ae(self) -> ApplicationEntity:
        """The application entity with the callers of this address only."""
        titles = self.server.titles_at(self.client_address[0])
        entity = copy(self.server.ae)
        entity.require_calling_aet = [] if ANY in titles else titles
        return entity

    def _create_association(self) -> Association:
        association = super()._create_association()
        bounded: Any = association.dul.socket
        bounded.__class__ = BoundedSocket  # pynetdicom makes the socket itself and has no hook for its class
        bounded.bounds = self.server.bounds
        return association


class BoundedServer(ThreadedAssociationServer):
    """Listens for associations.

    Attributes:
        bounds: what one connection may cost; set before serving.
        callers: who may call.
    """

    bounds: Bounds
    callers: Mapping[str, CallerSettings]
    daemon_threads = True
    request_queue_size = 64

    def titles_at(self, address: str) -> list[str]:
        """Return the AE titles that may call from an IP address."""
        return [title for title, caller in self.callers.items() if caller.admits(address)]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; a TLS handshake is left to its own thread, so that no peer can block the others."""
        if self.socket is None:
            raise OSError("closed")
        connection, address = self.socket.accept()
        connection.settimeout(self.bounds.idle_seconds)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, _request: object, client_address: Any) -> bool:
        """Return whether a connection may be served."""
        if not self.titles_at(client_address[0]):
            _rarely.warning("address", "connection refused: its address is that of no caller; add it to callers")
            return False
        most = _CONNECTIONS_PER_ASSOCIATION * self.ae.maximum_associations
        if len(self.active_associations) >= most:
            _rarely.warning("flood", f"connection refused: {most} are open")
            return False
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, and start the association."""
        if isinstance(request, ssl.SSLSocket):
            try:
                request.do_handshake()
            except OSError as error:
                _rarely.warning("tls", f"connection refused: no TLS handshake ({type(error).__name__})")
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Report a connection that could not be served, without a traceback."""
        _rarely.warning("connection", "connection closed: it could not be served")
