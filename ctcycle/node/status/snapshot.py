"""The state of the node as plain data."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from ctcycle.node.peers.sender import Sender
from ctcycle.node.pulling.puller import Puller
from ctcycle.node.queue.deliveries import Deliveries
from ctcycle.node.queue.jobs import Job, Jobs
from ctcycle.node.receiving.arrivals import Arrivals
from ctcycle.node.spool import Spool

_LATEST = 20
_STATES = ("queued", "sending", "done", "left", "failed")
_HOUR_S = 3600


class Watched(Protocol):
    """The parts of a node that are looked at."""

    started: float
    spool: Spool
    jobs: Jobs
    deliveries: Deliveries
    arrivals: Arrivals
    senders: list[Sender]
    pullers: list[Puller]


@dataclass(frozen=True)
class Snapshot:
    """The state of the node at one moment.

    Attributes:
        up_s: seconds since the start.
        receiving: number of series that are being received.
        jobs: number of jobs by state.
        destinations: for each destination, its name, the number of objects due, and the problem with it.
        done_last_hour: series done in the last hour.
        slices_per_s: slices denoised per second of computing, in that hour; 0.0 if none were.
        spool_mb: size of the objects.
        free_mb: free space on the disk.
        problems: what needs attention, one sentence each.
        latest: the series that changed last, as rows of the page.
    """

    up_s: float
    receiving: int
    jobs: dict[str, int]
    destinations: list[tuple[str, int, str]]
    done_last_hour: int
    slices_per_s: float
    spool_mb: float
    free_mb: float
    problems: list[str]
    latest: list[dict[str, Any]]

    @property
    def healthy(self) -> bool:
        """Whether nothing needs attention."""
        return not self.problems


def take_snapshot(node: Watched, free_mb_needed: float) -> Snapshot:
    """Return the state of a node.

    Args:
        node: the node.
        free_mb_needed: the limit below which objects are refused.
    """
    counts, due = node.jobs.counts(), node.deliveries.counts()
    recent = node.jobs.done_since(time.time() - _HOUR_S)
    seconds = sum(job.seconds for job in recent)
    free = node.spool.free_bytes() / 1e6
    destinations = [(one.name, due[one.name, "due"] + due[one.name, "stored"], one.problem) for one in node.senders]
    problems = [f"{name} {problem}; {count} objects wait for it" for name, count, problem in destinations if problem]
    problems += [f"pull {one.name}: {one.settings.source} {one.problem}" for one in node.pullers if one.problem]
    problems += [
        f"job {job.number} failed: {job.reason}; correct the cause, then restart the node to try again"
        for job in node.jobs.latest(_LATEST, "failed")
    ]
    if free < free_mb_needed:
        problems.append(f"the disk has {free:.0f} MB left, so objects are refused; free up space")
    return Snapshot(
        up_s=time.time() - node.started,
        receiving=node.arrivals.receiving(),
        jobs={state: counts.get(state, 0) for state in _STATES},
        destinations=destinations,
        done_last_hour=len(recent),
        slices_per_s=sum(job.slices for job in recent) / seconds if seconds else 0.0,
        spool_mb=node.spool.size_bytes / 1e6,
        free_mb=free,
        problems=problems,
        latest=[_row(job) for job in node.jobs.latest(_LATEST, *_STATES)],  # type: ignore[arg-type]
    )


def _row(job: Job) -> dict[str, Any]:
    return {
        "number": job.number,
        "state": job.state,
        "slices": job.slices,
        "model": job.model,
        "strength": "" if job.strength is None else f"{job.strength:.3g}",
        "seconds": f"{job.seconds:.1f}" if job.seconds else "",
        "ago": _ago(time.time() - job.changed),
        "reason": job.reason,
    }


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
