"""Prove that a node can start: its spool, ports, models and peers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ctcycle.config.tasks.node import DestinationSettings, RuleSettings, Serve, StatusSettings
from ctcycle.errors import BundleError, CtcycleError, OutputError
from ctcycle.node.listening import check_free
from ctcycle.node.peers.making import make_peer
from ctcycle.node.peers.peer import PeerError
from ctcycle.node.peers.secure import server_context
from ctcycle.node.queue.database import Database
from ctcycle.node.spool import Spool, make_root
from ctcycle.node.working.models import Models
from ctcycle.runs.lock import locked


@dataclass(frozen=True)
class Proof:
    """The result of one check.

    Attributes:
        name: what was checked.
        text: what was found.
        error: why it failed; None if it did not.
    """

    name: str
    text: str
    error: CtcycleError | PeerError | None = None


def prove(config: Serve, models: Models) -> Iterator[Proof]:
    """Check everything that a node needs, one thing after the other, and yield the results.

    Args:
        config: the config.
        models: loads the models of the rules.
    """
    yield _proof("spool", lambda: _spool(config))
    yield _proof("port", lambda: _port(config))
    if (status := config.status).port is not None:
        yield _proof("status port", lambda: _status_port(status))
    for number, rule in enumerate(config.rules, 1):
        if rule.action == "denoise":
            yield _proof(f"rule {number}", lambda rule=rule: _model(rule, models))  # type: ignore[misc]
    for name, settings in config.destinations.items():
        yield _proof(name, lambda settings=settings: _peer(settings, config.ae_title))  # type: ignore[misc]


def _proof(name: str, check: Callable[[], str]) -> Proof:
    try:
        return Proof(name, check())
    except (CtcycleError, PeerError) as error:
        return Proof(name, str(error), error)


def _spool(config: Serve) -> str:
    make_root(config.out)
    with locked(config.out):
        spool = Spool(config.out)
        spool.open()
        Database(config.out / "queue.db").close()
        free = spool.free_bytes() / 1e6
        if free < config.limits.free_mb:
            raise OutputError(
                f"{config.out}: {free:.0f} MB free, limits.free_mb={config.limits.free_mb}; free up space"
            )
        return f"{config.out}: writable, {free / 1000:.1f} GB free"


def _port(config: Serve) -> str:
    check_free(config.host, config.port, "port")
    if config.tls is None:
        return f"{config.host}:{config.port} is free"
    server_context(config.tls)
    return f"{config.host}:{config.port} is free; certificates can be read"


def _status_port(status: StatusSettings) -> str:
    check_free(status.host, status.port or 0, "status.port")
    return f"{status.host}:{status.port} is free"


def _model(rule: RuleSettings, models: Models) -> str:
    model = models.of(rule)
    noise = np.random.default_rng(0).normal(0, 30, (64, 64)).astype(np.float32)
    if not np.isfinite(model.denoiser(average_flips=rule.average_flips).correction(noise)).all():
        raise BundleError(f"{model.name}: its output is not finite; choose another model")
    return f"model {model.name} works on {model.device}, strength {rule.strength}"


def _peer(settings: DestinationSettings, ae_title: str) -> str:
    make_peer(settings, ae_title).check()
    if settings.url is not None:
        return f"{settings.url} answers"
    return f"{settings.ae_title} at {settings.host}:{settings.port} answers C-ECHO"
