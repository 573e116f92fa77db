"""The node: its parts, the threads they run in, and an orderly stop."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread
from typing import cast

from ctcycle.config.tasks.node import DestinationSettings, PullSettings, Serve
from ctcycle.errors import OutputError
from ctcycle.node.counts import Counts
from ctcycle.node.listening import check_free
from ctcycle.node.peers.asking import Asker
from ctcycle.node.peers.dicom import DicomPeer
from ctcycle.node.peers.making import make_peer
from ctcycle.node.peers.sender import Sender
from ctcycle.node.peers.web import WebPeer
from ctcycle.node.pulling.archive import Archive
from ctcycle.node.pulling.dicom import DicomArchive
from ctcycle.node.pulling.puller import Puller
from ctcycle.node.pulling.web import WebArchive
from ctcycle.node.queue.database import Database
from ctcycle.node.queue.deliveries import Deliveries
from ctcycle.node.queue.jobs import Jobs
from ctcycle.node.queue.pulls import Pulls
from ctcycle.node.rarely import Rarely
from ctcycle.node.receiving.arrivals import Arrivals
from ctcycle.node.receiving.commitment import Commitment
from ctcycle.node.receiving.identity import read_identity
from ctcycle.node.receiving.receiver import Received, Receiver
from ctcycle.node.spool import Spool, hashed_name
from ctcycle.node.status.snapshot import take_snapshot
from ctcycle.node.status.web import StatusServer, make_app
from ctcycle.node.working.denoising import Denoising
from ctcycle.node.working.models import Models
from ctcycle.node.working.worker import Worker
from ctcycle.runs.lock import locked

_IDLE_S = 0.2
_ENOUGH_JOBS = 20
_HOUSEKEEPING_S = 600.0
_GRACE_S = 8.0
"""How long a stop waits for open associations and for the objects that are being sent."""

_log = logging.getLogger(__name__)
_rarely = Rarely(_log)


class Node:
    """A DICOM node.

    Args:
        config: the config.
        locate: returns the folder of a model, see `ctcycle.node.working.models.Models`.

    Raises:
        OutputError: the spool cannot be used.
        ConfigError: a certificate cannot be read.
    """

    def __init__(self, config: Serve, locate: Callable[[Path | None], Path]) -> None:
        self.config, self.started = config, time.time()
        self.counts, self.spool = Counts(), Spool(config.out)
        self.spool.open()
        self.database = Database(config.out / "queue.db")
        self.jobs, self.deliveries = Jobs(self.database), Deliveries(self.database)
        self.arrivals = Arrivals(config.completion, self.spool, self.jobs)
        self.models = Models(config.device, locate)
        self._stop, self._ended, self._completing = Event(), Event(), Lock()
        self._error: BaseException | None = None
        self.received = Received(self.spool, self.arrivals.arrived, self.counts, config)
        self.commitment = Commitment(config, self.spool, self.deliveries, self.complete)
        self.receiver = Receiver(config, self.received, self.commitment.handlers())
        denoising = Denoising(config, self.spool, self.jobs, self.counts, self.models.of, stopping=self._stop.is_set)
        self._worker = Worker(denoising, self.jobs, self.spool)
        self.pulls = Pulls(self.database)
        self.pullers = [self._puller(name, settings) for name, settings in config.pull.items()]
        self.senders = [self._sender(name, settings) for name, settings in config.destinations.items()]

    def run(self) -> None:
        """Serve until a signal interrupts the calling thread.

        Raises:
            KeyboardInterrupt: a signal arrived, and the node has stopped in an orderly way.
            OutputError: an address cannot be listened on.
            BundleError: a model cannot be loaded.
        """
        for rule in self.config.rules:
            if rule.action == "denoise":
                self.models.of(rule)
        self._recover()
        self.receiver.start()
        status = self._status()
        steps: dict[str, Callable[[Event], bool]] = {
            "completion": lambda _stop: bool(self.arrivals.take_complete()),
            "worker": self._worker.step,
            **{f"sender {sender.name}": sender.step for sender in self.senders},
            **{f"pull {puller.name}": puller.step for puller in self.pullers},
            "housekeeping": self._keep_house,
        }
        threads = [self._thread("receiver", self.receiver.serve)]
        if status is not None:
            threads.append(self._thread("status", status.serve))
        threads += [self._thread(name, partial(self._repeat, step)) for name, step in steps.items()]
        _log.info("listening on %s:%d as %s", self.config.host, self.config.port, self.config.ae_title)
        try:
            self._ended.wait()
        finally:
            if status is not None:
                status.stop()
            self._shut_down(threads)
        if self._error is not None:
            raise self._error

    def _sender(self, name: str, settings: DestinationSettings) -> Sender:
        peer, asker = make_peer(settings, self.config.ae_title), None
        if settings.commitment and isinstance(peer, DicomPeer):
            report = self.commitment.reported
            asker = Asker(name, peer, settings.commitment_minutes, self.deliveries, self.complete, report)
        parts = (self.spool, self.jobs, self.deliveries, self.counts)
        return Sender(name, settings, peer, *parts, complete=self.complete, asker=asker)

    def _puller(self, name: str, settings: PullSettings) -> Puller:
        peer = make_peer(self.config.destinations[settings.source], self.config.ae_title)
        archive: Archive
        if isinstance(peer, DicomPeer):
            archive = DicomArchive(peer, self.config.ae_title)
        else:
            archive = WebArchive(
                cast("WebPeer", peer), lambda content, syntax: self.received.accept(content, syntax, settings.source)
            )
        return Puller(name, settings, archive, self.pulls, self._busy)

    def _busy(self) -> bool:
        """Return whether so much waits that nothing more should be fetched."""
        counts = self.jobs.counts()
        return self.arrivals.receiving() + counts.get("queued", 0) + counts.get("sending", 0) >= _ENOUGH_JOBS

    def _status(self) -> StatusServer | None:
        settings = self.config.status
        if settings.port is None:
            return None
        check_free(settings.host, settings.port, "status.port")
        app = make_app(lambda: take_snapshot(self, self.config.limits.free_mb), self.counts.registry)
        return StatusServer(settings, app)

    def complete(self, number: int) -> None:
        """Finish a job if nothing of it is due any more."""
        with self._completing:
            if not self.deliveries.is_complete(number) or self.jobs.state(number) != "sending":
                return
            if refusal := self.deliveries.refusal(number):
                self.jobs.fail(number, refusal)
                return
            self.jobs.finish(number)
            self.spool.remove(number)
        _log.info("job %d: done", number)

    def _recover(self) -> None:
        """Continue what a stopped or killed node left."""
        self.arrivals.recover()
        self._adopt()
        for job in self.jobs.in_state("done", "left"):
            if self.spool.job(job.number).exists():
                self.spool.remove(job.number)
        if count := self.jobs.retry_failed():
            _log.info("trying %d failed jobs again", count)
        for job in self.jobs.in_state("sending"):
            self.complete(job.number)
        if waiting := len(self.jobs.in_state("queued", "sending")) + self.arrivals.receiving():
            _log.info("continuing with %d series in the spool", waiting)

    def _adopt(self) -> None:
        """Queue the jobs that are on disk but not in the queue, as when it was lost."""
        for folder in sorted(self.spool.jobs.iterdir()):
            number, sources = int(folder.name), self.spool.sources(int(folder.name))
            if sources and self.jobs.state(number) is None:
                identity = read_identity(sources[0].read_bytes(), "")
                self.jobs.adopt(number, hashed_name(identity.study, identity.series), len(sources))
                _log.warning("job %d: was not in the queue; queued again", number)

    def _keep_house(self, stop: Event) -> bool:
        for number in self.jobs.forget_before(time.time() - 86400 * self.config.remember_days):
            self.spool.remove(number)
        stop.wait(_HOUSEKEEPING_S)
        return True

    def _repeat(self, step: Callable[[Event], bool]) -> None:
        """Repeat a step until the node stops, with pauses when there is nothing to do or the disk is full."""
        while not self._stop.is_set():
            try:
                if not step(self._stop):
                    self._stop.wait(_IDLE_S)
            except (OutputError, OSError) as error:
                _rarely.warning("storage", f"{error}; trying again")
                self._stop.wait(5 * _IDLE_S)

    def _thread(self, name: str, work: Callable[[], object]) -> Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 (raised again by `run`)
                self._error = self._error or error
                self._ended.set()

        thread = Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _shut_down(self, threads: list[Thread]) -> None:
        """Let peers finish their objects, and stop all threads; everything else is on disk."""
        _log.info("stopping")
        self._stop.set()
        self.receiver.stop()
        deadline = time.monotonic() + _GRACE_S
        while self.receiver.open_associations() and time.monotonic() < deadline:
            time.sleep(_IDLE_S / 4)
        self.receiver.abort()
        for thread in threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self.database.close()


def quiet_libraries() -> None:
    """Silence the logs and warnings of DICOM libraries, which quote headers and requests; ours say what matters."""
    for name in ("pynetdicom", "pydicom", "dicomweb_client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def serve(config: Serve, locate: Callable[[Path | None], Path]) -> None:
    """Run a node until a signal stops it, see `Node.run`; no other node can use its spool meanwhile."""
    quiet_libraries()
    with locked(config.out):
        Node(config, locate).run()
