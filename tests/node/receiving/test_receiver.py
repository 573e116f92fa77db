"""What a sender is answered, with pynetdicom as the sender in this process."""

import gc
import io
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificate
from node_peers import free_port, listens, wait_for
from phantom_series import slice_dataset, stored_body
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association

from ctcycle.config.tasks.node import Serve
from ctcycle.errors import ConfigError, OutputError
from ctcycle.node.classes import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, VERIFICATION
from ctcycle.node.counts import Counts
from ctcycle.node.peers.secure import client_context
from ctcycle.node.queue.database import Database
from ctcycle.node.queue.deliveries import Deliveries
from ctcycle.node.receiving.commitment import Commitment
from ctcycle.node.receiving.receiver import Received, Receiver
from ctcycle.node.spool import Spool, hashed_name

# pynetdicom leaves the sockets of senders whose handshake failed to the garbage collector
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


def config(folder: Path, **more: Any) -> Serve:
    return Serve.model_validate_json(
        json.dumps(
            {
                "task": "serve",
                "out": str(folder / "spool"),
                "port": free_port(),
                "callers": {"SCANNER": {"addresses": ["127.0.0.0/8"]}},
                "limits": {"free_mb": 1, "idle_seconds": 5.0},
                "destinations": {"archive": {"ae_title": "A", "host": "127.0.0.1", "port": 1}},
                **more,
            }
        )
    )


@contextmanager
def receiving(settings: Serve) -> Iterator[tuple[Spool, list[int]]]:
    """A receiver that runs, its spool, and the numbers of instances that its series announced."""
    spool, announced = Spool(settings.out), []
    spool.open()
    received = Received(spool, lambda _stored, number: announced.append(number), Counts(), settings)
    database = Database(settings.out / "queue.db")
    commitment = Commitment(settings, spool, Deliveries(database), complete=lambda _job: None)
    receiver = Receiver(settings, received, commitment.handlers())
    receiver.start()
    thread = threading.Thread(target=receiver.serve)
    thread.start()
    try:
        wait_for(lambda: listens(settings.port))
        yield spool, announced
    finally:
        receiver.stop()
        receiver.abort()
        thread.join()
        database.close()


@contextmanager
def sender(
    port: int, calling: str = "SCANNER", called: str = "CTCYCLE", sop_class: str = CTImageStorage, **more: Any
) -> Iterator[Association]:
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(STORAGE_COMMITMENT)
    association = entity.associate("127.0.0.1", port, ae_title=called, **more)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def image(number: int = 1) -> Dataset:
    dataset = slice_dataset(stored_body(1)[0], number=number)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def test_what_is_acknowledged_is_on_disk_as_it_was_sent(tmp_path: Path) -> None:
    settings, sent = config(tmp_path), image()
    with receiving(settings) as (spool, announced), sender(settings.port) as association:
        assert association.send_c_echo().Status == 0
        assert association.send_c_store(sent).Status == 0
        (file,) = spool.incoming.rglob("*.dcm")
    assert file.stem == hashed_name(sent.SOPInstanceUID)
    assert file.parent.name == hashed_name(sent.StudyInstanceUID, sent.SeriesInstanceUID)
    found = dcmread(file)
    assert found.PixelData == sent.PixelData
    assert found.PatientName == sent.PatientName
    assert announced == [0]


def test_nothing_outside_the_spool_is_written(tmp_path: Path) -> None:
    settings, sent = config(tmp_path), image()
    sent.SeriesDescription = "../../../evil"
    sent.PatientName = "/etc/evil"
    with receiving(settings), sender(settings.port) as association:
        association.send_c_store(sent)
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]
    assert "evil" not in "".join(str(path) for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("names", [("STRANGER", "CTCYCLE"), ("SCANNER", "OTHER")])
def test_unknown_titles_are_rejected(tmp_path: Path, names: tuple[str, str]) -> None:
    settings = config(tmp_path)
    with receiving(settings), sender(settings.port, *names) as association:
        assert association.is_rejected


def test_an_unknown_address_is_disconnected(tmp_path: Path) -> None:
    settings = config(tmp_path, callers={"SCANNER": {"addresses": ["10.9.8.7"]}})
    with receiving(settings), sender(settings.port) as association:
        assert not association.is_established
        assert not association.is_rejected


def test_any_title(tmp_path: Path) -> None:
    settings = config(tmp_path, callers={"*": {"addresses": ["127.0.0.1"]}})
    with receiving(settings), sender(settings.port, "STRANGER") as association:
        assert association.is_established


def test_a_full_disk_is_out_of_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path)
    with receiving(settings) as (spool, _), sender(settings.port) as association:
        monkeypatch.setattr(Spool, "free_bytes", lambda _spool: 1000)
        assert association.send_c_store(image()).Status == 0xA700
        assert not list(spool.root.rglob("*.dcm"))
        monkeypatch.undo()
        assert association.send_c_store(image()).Status == 0


def test_a_full_spool_is_out_of_resources(tmp_path: Path) -> None:
    settings = config(tmp_path, limits={"free_mb": 1, "spool_gb": 0.000005})
    with receiving(settings), sender(settings.port) as association:
        answers = [association.send_c_store(image(number)).Status for number in range(1, 5)]
    assert answers[0] == 0
    assert answers[-1] == 0xA700


def test_uids_that_contradict_the_request_are_refused(tmp_path: Path) -> None:
    settings = config(tmp_path)
    with receiving(settings) as (spool, _):
        buffer = io.BytesIO()
        image().save_as(buffer, enforce_file_format=True)
        received = Received(spool, lambda *_: None, Counts(), settings)
        right = (CTImageStorage, str(image().SOPInstanceUID))
        assert received.accept(buffer.getvalue(), ExplicitVRLittleEndian, "S", (CTImageStorage, "1.2.3")) == 0xC000
        assert received.accept(b"noise" * 100, ExplicitVRLittleEndian, "S", right) == 0xC000
        assert not list(spool.root.rglob("*.dcm"))
        assert received.accept(buffer.getvalue(), ExplicitVRLittleEndian, "S", right) == 0


@pytest.mark.parametrize("wanted", [False, True])
def test_other_classes_only_if_wanted(tmp_path: Path, *, wanted: bool) -> None:
    settings = config(tmp_path, other_classes=wanted)
    with receiving(settings), sender(settings.port, sop_class=MRImageStorage) as association:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
    assert (MRImageStorage in accepted) is wanted


def test_an_object_that_is_too_large_ends_its_association(tmp_path: Path) -> None:
    settings = config(tmp_path, limits={"free_mb": 1, "object_mb": 1, "idle_seconds": 5.0})
    large = image()
    large.add_new(0x00091001, "OB", bytes(3_000_000))
    with receiving(settings) as (spool, _):
        with sender(settings.port) as association:
            assert "Status" not in association.send_c_store(large)
        assert not list(spool.root.rglob("*.dcm"))
        with sender(settings.port) as association:  # and no other
            assert all(association.send_c_store(image(number)).Status == 0 for number in range(1, 4))


def test_too_many_associations_are_rejected_for_the_moment(tmp_path: Path) -> None:
    settings = config(tmp_path, limits={"free_mb": 1, "associations": 1, "idle_seconds": 5.0})
    with receiving(settings):
        with ExitStack() as first:
            wait_for(lambda: established(first, settings.port))  # after the connection that looked whether it listens
            with sender(settings.port) as second:
                assert second.is_rejected
        with ExitStack() as third:
            wait_for(lambda: established(third, settings.port))


def established(stack: ExitStack, port: int) -> bool:
    """Whether an association can be opened; if so, it stays open as long as the stack."""
    return stack.enter_context(sender(port)).is_established


def test_a_connection_that_closes_without_a_request_is_forgotten(tmp_path: Path) -> None:
    settings = config(tmp_path, limits={"free_mb": 1, "idle_seconds": 60.0})
    with receiving(settings):
        assert all(listens(settings.port) for _ in range(5))
        wait_for(lambda: not any("AcceptorThread" in thread.name for thread in threading.enumerate()), 10)


def test_a_port_in_use(tmp_path: Path) -> None:
    settings = config(tmp_path)
    with receiving(settings), pytest.raises(OutputError, match="choose another port"), receiving(settings):
        pass


def commitment(*instances: str) -> Dataset:
    request = Dataset()
    request.TransactionUID = "1.2.3.4"
    items = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, instance
        items.append(item)
    request.ReferencedSOPSequence = Sequence(items)
    return request


def test_storage_commitment_says_what_is_on_disk(tmp_path: Path) -> None:
    settings, reports = config(tmp_path), []

    def reported(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0, None

    with receiving(settings), sender(settings.port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)]) as association:
        association.send_c_store(image())
        request = commitment(str(image().SOPInstanceUID), "1.2.999")
        status, _ = association.send_n_action(request, 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
        assert status.Status == 0
        wait_for(lambda: reports)
    ((kind, report),) = reports
    assert (kind, report.TransactionUID) == (2, "1.2.3.4")
    assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == [image().SOPInstanceUID]
    assert [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in report.FailedSOPSequence] == [
        ("1.2.999", 0x0112)
    ]


def test_tls_needs_a_certificate_of_the_right_authority(tmp_path: Path) -> None:
    node, stranger = make_certificate(tmp_path / "tls", "node"), make_certificate(tmp_path / "tls", "stranger")
    settings = config(tmp_path, tls=node.settings())
    own = client_context(settings.tls)  # type: ignore[arg-type] (it is set)
    false = ssl.create_default_context(cafile=node.authority)
    false.load_cert_chain(stranger.certificate, stranger.key)
    none = ssl.create_default_context(cafile=node.authority)
    with receiving(settings):
        with sender(settings.port, tls_args=(own, "127.0.0.1")) as association:
            assert association.send_c_store(image()).Status == 0
        for context in (false, none):
            with sender(settings.port, tls_args=(context, "127.0.0.1")) as association:
                assert not association.is_established
        with sender(settings.port) as association:
            assert not association.is_established


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("certificate", "key", "authorities")}
    with pytest.raises(ConfigError, match="give PEM files"), receiving(config(tmp_path, tls=files)):
        pass
