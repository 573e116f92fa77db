"""A destination that takes objects by STOW-RS."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset, dcmread
from requests.adapters import HTTPAdapter

from ctcycle.config.tasks.node import DestinationSettings
from ctcycle.errors import ConfigError
from ctcycle.node.peers.peer import PeerError
from ctcycle.node.queue.deliveries import Answer, Delivery

_LATER = {408, 425, 429, 500, 502, 503, 504}
"""HTTP codes of a server that may recover."""

_REFUSED_LATER = {0x0110, 0x0213, *range(0xA700, 0xA800)}
_FAILURE_REASON = "FailureReason"


class _Timed(HTTPAdapter):
    """Gives every request a time limit; requests waits for ever by default."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def send(self, request: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send a request."""
        return super().send(request, **{**options, "timeout": self._seconds})


class WebPeer:
    """A DICOMweb server.

    Args:
        settings: its address, user and certificates.

    Raises:
        ConfigError: the password file cannot be read.
    """

    def __init__(self, settings: DestinationSettings) -> None:
        session = requests.Session()
        session.trust_env = False  # no proxies, no .netrc: what the config says
        session.auth = _authentication(settings)
        if settings.tls is not None:
            session.verify = str(settings.tls.authorities)
            session.cert = (str(settings.tls.certificate), str(settings.tls.key))
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Timed(settings.timeout_seconds))
        self.client = DICOMwebClient((settings.url or "").rstrip("/"), session=session)
        self.client.set_http_retry_params(retry=False)

    def check(self) -> None:
        """Check that the server answers a query.

        Raises:
            PeerError: it does not.
        """
        with translated():
            self.client.search_for_studies(limit=1)

    def send(self, items: Iterable[tuple[Delivery, Path]]) -> Iterator[tuple[Delivery, Answer, str]]:
        """Send objects one by one, see `ctcycle.node.peers.peer.Peer.send`.

        Raises:
            PeerError: the rest could not be sent.
        """
        for delivery, path in items:
            with translated():
                try:
                    answer = self.client.store_instances([dcmread(path)])
                except requests.HTTPError as error:
                    yield delivery, "refused", f"refused the object (HTTP {_refusal(error)})"
                    continue
            yield (delivery, *_answer(answer))


class translated:  # noqa: N801 (a context manager)
    """Turns errors of the network into PeerError; their messages may hold addresses with UIDs."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, requests.HTTPError):
            raise PeerError(f"answers HTTP {_code(error)}; check url, user and password") from None
        if isinstance(error, requests.RequestException | OSError | ValueError):
            raise PeerError(f"does not answer ({type(error).__name__}); check url and whether it runs") from None


def _authentication(settings: DestinationSettings) -> tuple[str, str] | None:
    if settings.user is None or settings.password_file is None:
        return None
    try:
        return settings.user, settings.password_file.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{settings.password_file}: cannot read the password ({type(error).__name__})") from error


def _code(error: requests.HTTPError) -> int:
    return 0 if error.response is None else error.response.status_code


def _refusal(error: requests.HTTPError) -> int:
    """Return the code of a refusal.

    Raises:
        PeerError: the server may recover, or does not know us.
    """
    code = _code(error)
    if code in _LATER or code in {0, 401, 403, 404, 407}:
        raise PeerError(f"answers HTTP {code}; check url, user and password, and the log of the server") from None
    return code


def _answer(answer: Dataset) -> tuple[Answer, str]:
    """Return what the answer to STOW-RS means (PS3.18 I.2).

    Raises:
        PeerError: the same may work later.
    """
    failed = answer.get("FailedSOPSequence") or ()
    if not failed:
        return "stored", ""
    reason = int(failed[0].get(_FAILURE_REASON, 0))
    if reason in _REFUSED_LATER:
        raise PeerError(f"is out of resources or failed (0x{reason:04X})")
    return "refused", f"refused the object (0x{reason:04X})"
