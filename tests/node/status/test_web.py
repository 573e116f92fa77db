"""The status page, health and metrics of a node that exists only as data."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from node_peers import free_port, listens, wait_for

from ctcycle.config.tasks.node import StatusSettings
from ctcycle.node.counts import Counts
from ctcycle.node.status.snapshot import Snapshot
from ctcycle.node.status.web import StatusServer, make_app

QUIET = Snapshot(
    up_s=60.0,
    receiving=1,
    jobs={"queued": 2, "sending": 0, "done": 3, "left": 0, "failed": 0},
    destinations=[("archive", 4, "")],
    done_last_hour=3,
    slices_per_s=1.5,
    spool_mb=10.0,
    free_mb=9000.0,
    problems=[],
    latest=[
        {
            "number": 1,
            "state": "done",
            "slices": 3,
            "model": "<script>alert(1)</script>",
            "strength": "1",
            "seconds": "",
            "ago": "3 s",
            "reason": "",
        }
    ],
)
TROUBLED = Snapshot(
    **{**QUIET.__dict__, "problems": ["archive does not answer"], "destinations": [("archive", 4, "down")]}
)


@pytest.fixture(params=[QUIET, TROUBLED], ids=["quiet", "troubled"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Snapshot, dict[str, str]]]:
    counts, port = Counts(), free_port()
    counts.sent("archive")
    server = StatusServer(StatusSettings(port=port), make_app(lambda: request.param, counts.registry))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        wait_for(lambda: listens(port))
        get = build_opener(ProxyHandler({})).open
        pages = {}
        for path in ("", "health", "metrics"):
            with get(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
                pages[path] = answer.read().decode()
        yield request.param, pages
    finally:
        server.stop()
        thread.join()


def test_every_page(served: tuple[Snapshot, dict[str, str]]) -> None:
    now, pages = served
    assert ("Needs attention" in pages[""]) is bool(now.problems)
    assert "<script>" not in pages[""]
    health = json.loads(pages["health"])
    assert health["status"] == ("attention" if now.problems else "ok")
    assert health["problems"] == now.problems
    lines = pages["metrics"].splitlines()
    assert 'ctcycle_jobs{state="queued"} 2.0' in lines
    assert 'ctcycle_objects_due{destination="archive"} 4.0' in lines
    assert f'ctcycle_destination_up{{destination="archive"}} {0.0 if now.problems else 1.0}' in lines
    assert 'ctcycle_objects_sent_total{destination="archive"} 1.0' in lines


def test_the_template_is_in_the_package() -> None:
    import ctcycle.node.status

    assert (Path(ctcycle.node.status.__path__[0]) / "templates" / "status.html").is_file()
