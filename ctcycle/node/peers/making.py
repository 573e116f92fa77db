"""Make the peer that a destination names."""

from ctcycle.config.tasks.node import DestinationSettings
from ctcycle.node.peers.dicom import DicomPeer
from ctcycle.node.peers.peer import Peer
from ctcycle.node.peers.web import WebPeer


def make_peer(settings: DestinationSettings, ae_title: str) -> Peer:
    """Return the peer of a destination.

    Args:
        settings: the destination.
        ae_title: the title of this node.

    Raises:
        ConfigError: a certificate or a password cannot be read.
    """
    return DicomPeer(settings, ae_title) if settings.url is None else WebPeer(settings)
