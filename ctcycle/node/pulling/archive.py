"""The interface of an archive that can be queried."""

from collections.abc import Mapping
from typing import Protocol


class Archive(Protocol):
    """An archive."""

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """Return the StudyInstanceUIDs of the studies that match.

        Args:
            query: values to match, by DICOM keyword.

        Raises:
            PeerError: the archive does not answer.
        """

    def fetch(self, study: str) -> int:
        """Fetch the CT series of a study into the spool, and return their number.

        Raises:
            PeerError: something did not arrive.
        """
