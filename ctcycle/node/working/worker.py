"""Work on the queued jobs one by one, so that neither a bad job nor a crash stops the others."""

import logging
import traceback
from dataclasses import dataclass
from threading import Event

from ctcycle.errors import CtcycleError, OutputError
from ctcycle.node.queue.jobs import Job, Jobs, Outcome
from ctcycle.node.spool import Spool
from ctcycle.node.working.denoising import Denoising, Interrupted

_DEATHS_TO_POSTPONE = 2
_DEATHS_TO_FAIL = 10
_PAUSE_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """Works on jobs.

    Attributes:
        denoising: what is done with a job.
        jobs: the queue.
        spool: the objects.
    """

    denoising: Denoising
    jobs: Jobs
    spool: Spool

    def step(self, stop: Event) -> bool:
        """Work on the next job; return whether there was one.

        Raises:
            OutputError: the queue cannot be written.
        """
        job = self.jobs.begin()
        if job is None:
            return False
        if job.deaths >= _DEATHS_TO_FAIL:
            self._fail(job, f"the node died {job.deaths} times while it worked on this job; look for a damaged file")
            return True
        if job.deaths and job.deaths % _DEATHS_TO_POSTPONE == 0:
            self.jobs.postpone(job.number)
        self._work(job, stop)
        return True

    def _work(self, job: Job, stop: Event) -> None:
        try:
            outcome = self.denoising.work(job)
        except Interrupted:
            self.jobs.interrupted(job)
        except (OutputError, OSError) as error:
            self.jobs.interrupted(job)
            _log.warning("job %d: %s; trying again", job.number, error)  # names a path of the spool
            stop.wait(_PAUSE_S)
        except CtcycleError as error:
            self._fail(job, str(error))
        except Exception as error:  # noqa: BLE001 (one bad series must not stop the others)
            where = "".join(traceback.format_tb(error.__traceback__))  # without the message, which may quote a header
            _log.error("job %d: internal error (%s)\n%s", job.number, type(error).__name__, where)
            self._fail(job, f"internal error ({type(error).__name__}); see the log, and report it")
        else:
            self._settle(job, outcome)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        self.jobs.settle(job.number, outcome)
        if outcome.deliveries:
            what = f"denoised with {outcome.model} x{outcome.strength:.3g}" if outcome.model else "passed on"
            _log.info("job %d: %s in %.1f s", job.number, what, outcome.seconds)
        else:
            self.spool.remove(job.number)
        if outcome.reason:
            _log.warning("job %d: %s%s", job.number, "" if outcome.deliveries else "left: ", outcome.reason)

    def _fail(self, job: Job, reason: str) -> None:
        self.jobs.fail(job.number, reason)
        _log.warning("job %d: failed: %s", job.number, reason)
