"""Query and retrieve by QIDO-RS and WADO-RS."""

import io
from collections.abc import Callable, Mapping

from pydicom import Dataset
from pydicom.filewriter import dcmwrite

from ctcycle.node.peers.peer import PeerError
from ctcycle.node.peers.web import WebPeer, translated
from ctcycle.node.pulling.selection import is_wanted

_ANY_SYNTAX = (("application/dicom", "*"),)
_MOST_STUDIES = 10_000
_STUDY, _SERIES, _MODALITY, _DESCRIPTION = "0020000D", "0020000E", "00080060", "0008103E"
_PAGE = 200


class WebArchive:
    """A DICOMweb server.

    Args:
        peer: the server.
        accept: stores an object, given its content and transfer syntax; returns 0 if it is on disk.
    """

    def __init__(self, peer: WebPeer, accept: Callable[[bytes, str], int]) -> None:
        self._client, self._accept = peer.client, accept

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """Return the StudyInstanceUIDs of the studies that match, see `ctcycle.node.pulling.archive.Archive`."""
        filters = {"ModalitiesInStudy": "CT", **query}
        found: list[str] = []
        with translated():
            while len(found) < _MOST_STUDIES:
                page = self._client.search_for_studies(search_filters=filters, limit=_PAGE, offset=len(found))
                found += [_value(one, _STUDY) for one in page]
                if len(page) < _PAGE:
                    break
        return [uid for uid in found if uid]

    def fetch(self, study: str) -> int:
        """Fetch the CT series of a study, see `ctcycle.node.pulling.archive.Archive`."""
        with translated():
            rows = self._client.search_for_series(
                study, search_filters={"Modality": "CT"}, fields=["SeriesDescription"]
            )
            series = [
                _value(one, _SERIES) for one in rows if is_wanted(_value(one, _MODALITY), _value(one, _DESCRIPTION))
            ]
            for uid in series:
                for dataset in self._client.iter_series(study, uid, media_types=_ANY_SYNTAX):
                    self._store(dataset)
        return len(series)

    def _store(self, dataset: Dataset) -> None:
        buffer = io.BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        if self._accept(buffer.getvalue(), str(dataset.file_meta.TransferSyntaxUID)):
            raise PeerError("sent an object that could not be stored; see the log")


def _value(row: Mapping[str, object], tag: str) -> str:
    """Return the first value of an element in DICOM JSON; empty if there is none."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if values else ""
