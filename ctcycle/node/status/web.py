"""The status server: ``/``, ``/health`` and ``/metrics``, read-only."""

import json
from collections.abc import Callable, Iterator
from importlib.resources import files

import uvicorn
from jinja2 import Environment
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ctcycle import __version__
from ctcycle.config.tasks.node import StatusSettings
from ctcycle.node.status.snapshot import Snapshot

_HEADERS = {"Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


class _Gauges(Collector):
    """Gauges of a snapshot, taken when they are asked for."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the registry need not take a snapshot to learn names."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        now = self._look()
        jobs = GaugeMetricFamily("ctcycle_jobs", "Jobs by state", labels=["state"])
        for state, count in {**now.jobs, "receiving": now.receiving}.items():
            jobs.add_metric([state], count)
        due = GaugeMetricFamily("ctcycle_objects_due", "Objects waiting for a destination", labels=["destination"])
        fails = GaugeMetricFamily("ctcycle_destination_up", "0 if the last attempt failed", labels=["destination"])
        for name, count, problem in now.destinations:
            due.add_metric([name], count)
            fails.add_metric([name], not problem)
        yield from (jobs, due, fails)
        yield GaugeMetricFamily("ctcycle_spool_bytes", "Size of the objects in the spool", now.spool_mb * 1e6)
        yield GaugeMetricFamily("ctcycle_disk_free_bytes", "Free space on the disk of the spool", now.free_mb * 1e6)
        yield GaugeMetricFamily("ctcycle_up_seconds", "Seconds since the start", now.up_s)


def make_app(look: Callable[[], Snapshot], registry: CollectorRegistry) -> Starlette:
    """Return the web application.

    Args:
        look: takes a snapshot.
        registry: counters; gauges of the snapshot are added to it.
    """
    registry.register(_Gauges(look))
    template = Environment(autoescape=True).from_string(
        files("ctcycle.node.status").joinpath("templates/status.html").read_text(encoding="utf-8")
    )

    def page(_request: Request) -> Response:
        return HTMLResponse(template.render(now=look(), version=__version__), headers=_HEADERS)

    def health(_request: Request) -> Response:
        now = look()
        state = {"status": "ok" if now.healthy else "attention", "problems": now.problems, "jobs": now.jobs}
        return JSONResponse(json.loads(json.dumps(state)), headers=_HEADERS)

    def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(routes=[Route("/", page), Route("/health", health), Route("/metrics", metrics)])


class StatusServer:
    """Serves the status in a thread of the caller.

    Args:
        settings: where to listen.
        app: from `make_app`.
    """

    def __init__(self, settings: StatusSettings, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port or 0,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=20,
            timeout_keep_alive=5,
        )
        self._server = uvicorn.Server(config)

    def serve(self) -> None:
        """Serve until `stop` is called."""
        self._server.run()

    def stop(self) -> None:
        """End `serve`."""
        self._server.should_exit = True
