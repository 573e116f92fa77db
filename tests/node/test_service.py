"""The node as a process between real peers: storescu sends, Orthanc receives. Small versions of the scenarios."""

import io
import time
from pathlib import Path
from threading import Event
from urllib.request import ProxyHandler, build_opener

import node_faults
import pytest
from node_peers import NEEDS_PEERS, NodeProcess, Orthanc, make_series, node_config, running, wait_for
from node_peers import free_port as new_port
from node_sending import Found, Sent, compare, missing_on_disk, series_of, settled
from phantom_series import PATIENT_ID, PATIENT_NAME
from pydicom import dcmread

from ctcycle.node.spool import hashed_name

pytestmark = NEEDS_PEERS
_PATIENCE_S = 300.0


def finished(node: NodeProcess, jobs: int = 1) -> bool:
    return settled(node) and node.jobs().get("done") == jobs


@pytest.mark.slow
def test_there_and_back_by_both_ways_with_nothing_told_and_a_clean_stop(place: Path) -> None:
    """C-STORE and STOW-RS, storage commitment, status, pixels, logs, the spool, the exit code."""
    port = new_port()
    archive = Orthanc(place / "archive", {"ctcycle": ["CTCYCLE", "127.0.0.1", port]}, web=True)
    web = Orthanc(place / "web", web=True)
    config = node_config(place, archive.port, port=port, status={"port": new_port()})
    config["destinations"]["archive"]["commitment"] = True
    config["destinations"]["web"] = {"url": f"{web.url}/dicom-web", "retry_seconds": 0.5}
    node, sent = NodeProcess(place, config), Sent()
    files = make_series(place / "sent", 1)
    with running(archive, web, node):
        assert sent.once(node.port, files)
        wait_for(lambda: finished(node), _PATIENCE_S)
        for peer in (archive, web):
            ((_, sources),) = peer.denoised().items()
            assert len(sources) == 3
        (series,) = archive.get("/series?expand")
        for instance in series["Instances"]:
            made = dcmread(io.BytesIO(archive.content(f"/instances/{instance}/file")))
            source = next(one for one in map(dcmread, files) if one.InstanceNumber == made.InstanceNumber)
            assert made.PixelData == source.PixelData  # strength 0
            assert made.StudyInstanceUID == source.StudyInstanceUID
            assert made.PatientName == PATIENT_NAME
        pages, site = [], f"http://127.0.0.1:{config['status']['port']}"
        for path in ("", "health", "metrics"):
            with build_opener(ProxyHandler({})).open(f"{site}/{path}") as answer:
                pages.append(answer.read().decode())
        code, checked = node.check()
        assert code == 4  # its own spool and ports are in use
        assert "archive: ORTHANC at 127.0.0.1" in checked
        assert "answers C-ECHO" in checked
        assert node.rows("SELECT DISTINCT state FROM deliveries") == [("sent",)]
        assert node.stop() == 143
    assert not list(node.spool.rglob("*.dcm"))
    for text in (*pages, node.log(), checked, (place / "node.err").read_text()):
        for identity in (PATIENT_NAME, PATIENT_ID, "19330303", "1.2.826.0.1.3680043"):
            assert identity not in text


def test_a_series_that_comes_in_two_parts_is_one_series(place: Path) -> None:
    archive = Orthanc(place / "archive")
    node, sent = NodeProcess(place, node_config(place, archive.port)), Sent()
    files = make_series(place / "sent", 1, 4)
    with running(archive, node):
        assert sent.once(node.port, files[:3])
        wait_for(lambda: finished(node, 1), _PATIENCE_S)
        assert sent.once(node.port, files[2:])  # one of them again
        wait_for(lambda: finished(node, 2), _PATIENCE_S)
        assert compare(archive, [files]) == Found(1, 0, 0)


def test_what_is_left_and_what_is_passed_on(place: Path) -> None:
    archive = Orthanc(place / "archive")
    rules = [{"kernel": "B30*", "strength": 0.0}, {"kernel": "B60*", "action": "pass_on"}]
    config = node_config(place, archive.port, rules=rules, others={"localizer": "pass_on"})
    node, sent = NodeProcess(place, config), Sent()
    wanted = {
        "denoised": make_series(place / "a", 1, changes={"ConvolutionKernel": "B30f"}),
        "passed on": make_series(place / "b", 2, changes={"ConvolutionKernel": "B60f"}),
        "no rule": make_series(place / "c", 3, changes={"ConvolutionKernel": "H20s"}),
        "localizer": make_series(place / "d", 4, changes={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    }
    with running(archive, node):
        for files in wanted.values():
            assert sent.once(node.port, files)
        wait_for(lambda: node.jobs() == {"done": 3, "left": 1}, _PATIENCE_S)
        assert len(archive.denoised()) == 1
        there = {one["MainDicomTags"]["SeriesInstanceUID"] for one in archive.get("/series?expand")}
    uids = {name: str(dcmread(files[0]).SeriesInstanceUID) for name, files in wanted.items()}
    assert {name for name, uid in uids.items() if uid in there} == {"passed on", "localizer"}
    (reason,) = node.rows("SELECT reason FROM jobs WHERE state = 'left'")[0]
    assert "no rule matches" in reason


def test_studies_are_pulled_by_both_ways_and_once(place: Path) -> None:
    port = new_port()
    archive = Orthanc(place / "archive", {"ctcycle": ["CTCYCLE", "127.0.0.1", port]}, web=True)
    config = node_config(place, archive.port, port=port)
    config["destinations"]["web"] = {"url": f"{archive.url}/dicom-web"}
    config["rules"] = [{"strength": 0.0, "destinations": ["archive"]}]
    rate = {"studies_per_hour": 360000.0}
    config["pull"] = {
        "dimse": {"source": "archive", "query": {"StudyDate": "20200101"}, **rate},
        "web": {"source": "web", "query": {"StudyDate": "20210101"}, **rate},
    }
    node = NodeProcess(place, config)
    sent = [
        make_series(place / str(number), number, 2, {"StudyDate": f"20{20 + number // 5}0101"}) for number in (1, 6, 11)
    ]
    with running(archive):
        for files in sent:
            for file in files:
                archive.post("/instances", file.read_bytes())
        with running(node):
            wait_for(lambda: finished(node, 2), _PATIENCE_S)
            assert node.stop() == 143
            node.start()
            wait_for(lambda: node.log().count("0 of them new") == 2, _PATIENCE_S)
            assert node.jobs() == {"done": 2}
        assert sorted(map(len, archive.denoised().values())) == [2, 2]


def test_a_killed_node_loses_nothing(place: Path) -> None:
    """Three kills: while objects arrive, while they wait, and while the archive is down."""
    archive = Orthanc(place / "archive")
    node, sent, never = NodeProcess(place, node_config(place, archive.port)), Sent(), Event()
    files = series_of(place / "sent", 6)
    with running(archive, node):
        for part, pause in ((files[:2], 0.2), (files[2:4], 1.0)):
            for one in part:
                sent.until_taken(node.port, one, never)
            time.sleep(pause)
            node.kill()
            assert not missing_on_disk(node, archive, sent.acknowledged)
            node.start()
        archive.stop(hard=True)
        for one in files[4:]:
            sent.until_taken(node.port, one, never)
        wait_for(lambda: node.jobs().get("sending"), _PATIENCE_S)
        node.kill()
        on_disk = {path.stem for path in node.spool.rglob("source/*.dcm")} | {
            path.stem for path in node.spool.rglob("incoming/*/*.dcm")
        }
        waiting = {hashed_name(str(dcmread(file).SOPInstanceUID)) for one in files[4:] for file in one}
        assert waiting <= on_disk
        archive.start()
        node.start()
        wait_for(lambda: settled(node), _PATIENCE_S)
        assert compare(archive, files) == Found(6, 0, 0)


@pytest.mark.parametrize("scenario", ["hang", "garbage", "flood"])
def test_rude_peers(place: Path, scenario: str) -> None:
    more = {"hang": {"idle_s": 2.0}, "garbage": {"attempts": 24}, "flood": {"connections": 40, "idle_s": 3.0}}[scenario]
    figures = node_faults.SCENARIOS[scenario](place, **more)
    assert figures["ok"], figures
