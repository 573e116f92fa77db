"""The receiving side of the node: C-STORE, C-ECHO and storage commitment as a provider."""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from ctcycle.config.tasks.node import Serve
from ctcycle.errors import OutputError, SeriesError
from ctcycle.node.classes import CT_CLASSES, STORAGE_CLASSES, STORAGE_COMMITMENT, SYNTAXES, VERIFICATION
from ctcycle.node.counts import Counts
from ctcycle.node.peers.secure import server_context
from ctcycle.node.rarely import Rarely
from ctcycle.node.receiving.connections import BoundedHandler, BoundedServer, BoundedSocket, Bounds, Entity
from ctcycle.node.receiving.identity import read_identity
from ctcycle.node.spool import Spool, Stored, hashed_name

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
"""Answers to C-STORE (PS3.4 B.2.3)."""

_log = logging.getLogger(__name__)
_rarely = Rarely(_log)


@dataclass(frozen=True)
class Received:
    """Where received objects go.

    Attributes:
        spool: the objects on disk.
        arrived: called with each object that is on disk, and the number of instances its series announces.
        counts: counters for the status page.
        config: limits.
    """

    spool: Spool
    arrived: Callable[[Stored, int], object]
    counts: Counts
    config: Serve

    def accept(self, content: bytes, syntax: str, caller: str, claimed: tuple[str, str] | None = None) -> int:
        """Store an object; when this returns `SUCCESS`, it is on disk.

        Args:
            content: a DICOM file.
            syntax: its transfer syntax.
            caller: AE title of the sender.
            claimed: class and instance UID that came with it, which must be its own.

        Returns:
            The answer to C-STORE.
        """
        if problem := self._lack_of_space(len(content)):
            return self._refused(OUT_OF_RESOURCES, "resources", problem)
        try:
            identity = read_identity(content, syntax)
        except SeriesError as error:
            return self._refused(CANNOT_UNDERSTAND, "header", str(error))
        if claimed not in {None, (identity.sop_class, identity.instance)}:
            text = "received object: its UIDs are not those of the request; correct the sender"
            return self._refused(CANNOT_UNDERSTAND, "uids", text)
        series = hashed_name(identity.study, identity.series)
        try:
            stored = self.spool.store(series, hashed_name(identity.instance), content, caller)
        except OSError as error:
            return self._refused(OUT_OF_RESOURCES, "disk", f"spool: cannot write ({error.strerror}); free up space")
        self.counts.received(len(content), new=stored.new)
        self.arrived(stored, identity.announced)
        return SUCCESS

    def _lack_of_space(self, size: int) -> str:
        limits = self.config.limits
        if self.spool.size_bytes + size > limits.spool_gb * 1e9:
            return "object refused: the spool has reached limits.spool_gb; see which destination does not answer"
        if self.spool.free_bytes() - size < limits.free_mb * 1e6:
            return "object refused: the disk has less space than limits.free_mb; free up space"
        return ""

    def _refused(self, status: int, kind: str, text: str) -> int:
        self.counts.refused(kind)
        _rarely.warning(kind, text)
        return status


class Receiver:
    """Listens for associations.

    Args:
        config: address, callers, limits.
        received: takes the objects.
        commitment: handlers of storage commitment.
    """

    def __init__(self, config: Serve, received: Received, commitment: list[evt.EventHandlerType]) -> None:
        self._config, self._received = config, received
        self._commitment = commitment
        self._server: BoundedServer | None = None

    def start(self) -> None:
        """Start to listen, in threads of its own.

        Raises:
            OutputError: the address cannot be listened on.
            ConfigError: a certificate cannot be read.
        """
        config, limits = self._config, self._config.limits
        entity = Entity(config.ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = limits.associations
        entity.maximum_pdu_size = limits.pdu_kb * 1024
        entity.network_timeout = limits.idle_seconds
        entity.acse_timeout = min(30.0, limits.idle_seconds)
        entity.dimse_timeout = limits.idle_seconds
        entity.supported_contexts = self._contexts()
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_DIMSE_RECV, _object_complete),
            (evt.EVT_CONN_CLOSE, _closed),
            *self._commitment,
        ]
        context: ssl.SSLContext | None = None if config.tls is None else server_context(config.tls)
        try:
            made = entity.make_server(
                (config.host, config.port),
                evt_handlers=handlers,
                ssl_context=context,
                server_class=BoundedServer,
                request_handler=BoundedHandler,
            )
        except OSError as error:
            raise OutputError(
                f"{config.host}:{config.port}: cannot listen ({error.strerror}); stop the program that does, or choose "
                "another port"
            ) from error
        server = cast("BoundedServer", made)
        entity._servers.append(server)  # noqa: SLF001 (as its start_server does; it counts associations there)
        server.bounds = Bounds(limits.pdu_kb * 1024, limits.object_mb * 1_000_000, limits.idle_seconds)
        server.callers = config.callers
        entity.server = server
        self._server = server

    def serve(self) -> None:
        """Accept connections until `stop` is called."""
        if self._server is not None:
            self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Accept no more connections."""
        if self._server is not None:
            self._server.shutdown()

    def open_associations(self) -> int:
        """Return the number of open connections."""
        return 0 if self._server is None else len(self._server.active_associations)

    def abort(self) -> None:
        """End all associations."""
        for association in [] if self._server is None else self._server.active_associations:
            association.abort()

    def _contexts(self) -> list[PresentationContext]:
        entity = AE()
        entity.add_supported_context(VERIFICATION)
        entity.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
        for known in dict.fromkeys((*CT_CLASSES, *(STORAGE_CLASSES if self._config.other_classes else ()))):
            entity.add_supported_context(known, SYNTAXES)
        return entity.supported_contexts

    def _store(self, event: evt.Event) -> int:
        request = cast("C_STORE", event.request)
        claimed = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        caller = str(event.assoc.requestor.ae_title)
        return self._received.accept(event.encoded_dataset(), str(event.context.transfer_syntax), caller, claimed)


def _object_complete(event: evt.Event) -> None:
    if isinstance(event.assoc.dul.socket, BoundedSocket):
        event.assoc.dul.socket.object_complete()


def _closed(event: evt.Event) -> None:
    """Wake an association whose peer left without a request, as a port scan does; it would wait for a timeout."""
    if event.assoc.is_acceptor and event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)
