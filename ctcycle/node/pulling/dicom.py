"""Query and retrieve by C-FIND and C-MOVE; the archive sends the objects to the receiver of this node."""

from collections.abc import Iterator, Mapping

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from ctcycle.node.classes import STUDY_ROOT_FIND, STUDY_ROOT_MOVE
from ctcycle.node.peers.dicom import DicomPeer
from ctcycle.node.peers.peer import PeerError
from ctcycle.node.pulling.selection import is_wanted

_PENDING = {0xFF00, 0xFF01}


class DicomArchive:
    """An archive that is an application entity.

    Args:
        peer: the archive.
        ae_title: the title under which the archive knows this node.
    """

    def __init__(self, peer: DicomPeer, ae_title: str) -> None:
        self._peer, self._ae_title = peer, ae_title

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """Return the StudyInstanceUIDs of the studies that match, see `ctcycle.node.pulling.archive.Archive`."""
        wanted = _identifier("STUDY", **{"ModalitiesInStudy": "CT", "StudyInstanceUID": "", **query})
        with self._peer.associated([build_context(STUDY_ROOT_FIND)]) as association:
            return [str(found.StudyInstanceUID) for found in _find(association, wanted) if "StudyInstanceUID" in found]

    def fetch(self, study: str) -> int:
        """Fetch the CT series of a study, see `ctcycle.node.pulling.archive.Archive`."""
        wanted = _identifier(
            "SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="CT", SeriesDescription=""
        )
        contexts = [build_context(STUDY_ROOT_FIND), build_context(STUDY_ROOT_MOVE)]
        with self._peer.associated(contexts) as association:
            found = list(_find(association, wanted))
            series = [
                str(one.SeriesInstanceUID)
                for one in found
                if is_wanted(str(one.get("Modality", "")), str(one.get("SeriesDescription", "")))
            ]
            for uid in series:
                self._move(association, _identifier("SERIES", StudyInstanceUID=study, SeriesInstanceUID=uid))
        return len(series)

    def _move(self, association: Association, wanted: Dataset) -> None:
        status = Dataset()
        for status, _ in association.send_c_move(wanted, self._ae_title, STUDY_ROOT_MOVE):  # noqa: B007 (the last)
            pass
        if status.get("Status") != 0 or status.get("NumberOfFailedSuboperations"):
            code = status.get("Status")
            shown = "no answer" if code is None else f"0x{code:04X}"
            raise PeerError(
                f"could not send all of a series (C-MOVE: {shown}); check that it knows our AE title and port"
            )


def _find(association: Association, wanted: Dataset) -> Iterator[Dataset]:
    for status, found in association.send_c_find(wanted, STUDY_ROOT_FIND):
        code = status.get("Status")
        if code in _PENDING and found is not None:
            yield found
        elif code != 0:
            shown = "no answer" if code is None else f"0x{code:04X}"
            raise PeerError(f"did not answer the query (C-FIND: {shown}); check the query")


def _identifier(level: str, **values: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier
