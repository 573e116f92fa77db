"""Load and faults of the DICOM node, with real peers: storescu and Orthanc on 127.0.0.1.

    PYTHONPATH=.:tests/support python tests/stress/node_faults.py                 everything, about 20 minutes
    PYTHONPATH=.:tests/support python tests/stress/node_faults.py kills outage    some of it

Each scenario sends phantom series, does its harm, and then asks the archive what it holds: every series exactly once,
nothing lost, nothing double, and nothing that was acknowledged missing from the disk of the node.
"""

import argparse
import random
import re
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from node_peers import ECHOSCU, ROOT, NodeProcess, Orthanc, node_config, running, wait_for
from node_sending import Found, Sent, compare, missing_on_disk, place, series_of, settled
from nursery import nursery
from pynetdicom import AE


def kills(folder: Path, count: int = 20, series: int = 40, seed: int = 1) -> dict[str, Any]:
    """Kill the node at random moments while series are sent, denoised and delivered."""
    rng = random.Random(seed)  # noqa: S311
    archive = Orthanc(folder / "archive")
    node = NodeProcess(folder, node_config(folder, archive.port))
    files, sent, stop, missing = series_of(folder / "sent", series), Sent(), threading.Event(), set()
    with running(archive, node), ThreadPoolExecutor(4) as pool:
        try:
            for number in range(count):
                share = files[number * series // count : (number + 1) * series // count]
                waiting = [pool.submit(sent.until_taken, node.port, one, stop) for one in share]
                time.sleep(rng.uniform(0.0, 3.0))
                node.kill()
                with sent.lock:
                    acknowledged = set(sent.acknowledged)
                missing |= missing_on_disk(node, archive, acknowledged)
                node.start()
            for one in waiting:
                one.result(900)
            wait_for(lambda: settled(node), 900)
        finally:
            stop.set()
        found = compare(archive, files)
        deaths = node.rows("SELECT COUNT(*) FROM jobs")[0][0]
    return {"kills": count, "series_sent": series, "found": found, "acknowledged_but_not_on_disk": len(missing),
            "attempts": sent.attempts, "jobs": deaths, "ok": _is_right(found, series) and not missing}  # fmt: skip


def outage(folder: Path, series: int = 40, down_s: float = 15.0) -> dict[str, Any]:
    """Kill the archive in the middle, and start it again after a while."""
    archive = Orthanc(folder / "archive")
    node = NodeProcess(folder, node_config(folder, archive.port))
    files, sent = series_of(folder / "sent", series), Sent()
    with running(archive, node), ThreadPoolExecutor(4) as pool:
        half = [pool.submit(sent.once, node.port, one) for one in files[: series // 2]]
        wait_for(archive.denoised, 900)
        archive.stop(hard=True)
        rest = [pool.submit(sent.once, node.port, one) for one in files[series // 2 :]]
        taken = all(one.result(900) for one in [*half, *rest])
        time.sleep(down_s)
        waiting = node.jobs().get("sending", 0)
        archive.start()
        wait_for(lambda: settled(node), 900)
        order = [row[0] for row in node.rows("SELECT number FROM jobs ORDER BY changed")]
        found = compare(archive, files)
    return {"series_sent": series, "waiting_while_down": waiting, "found": found, "in_order": order == sorted(order),
            "ok": taken and waiting > 0 and _is_right(found, series)}  # fmt: skip


def load(folder: Path, series: int = 500, senders: int = 8, slices: int = 3) -> dict[str, Any]:
    """Send many series in parallel, and watch the memory of the node."""
    archive = Orthanc(folder / "archive")
    node = NodeProcess(folder, node_config(folder, archive.port))
    files, sent, memory = series_of(folder / "sent", series, slices), Sent(), []
    stop = threading.Event()
    with running(archive, node):
        started = time.monotonic()
        watch = threading.Thread(target=_watch_memory, args=(node, memory, stop))
        watch.start()
        with ThreadPoolExecutor(senders) as pool:
            list(pool.map(lambda one: sent.until_taken(node.port, one, stop), files))
        received = time.monotonic() - started
        wait_for(lambda: settled(node), 1200, 0.5)
        total = time.monotonic() - started
        stop.set()
        watch.join()
        found = compare(archive, files)
    by_done = {done: mb for done, mb in memory if done}
    marks = {f"mb_after_{mark}": by_done[max(d for d in by_done if d <= mark)] for mark in _marks(series, by_done)}
    return {"series_sent": series, "senders": senders, "receive_s": round(received, 1), "total_s": round(total, 1),
            "objects_per_s": round(series * slices / received, 1), **marks, "found": found,
            "attempts": sent.attempts, "ok": _is_right(found, series)}  # fmt: skip


def _marks(series: int, known: dict[int, float]) -> list[int]:
    return [mark for mark in (series // 10, series // 4, series // 2, series) if min(known) <= mark]


def _watch_memory(node: NodeProcess, memory: list[tuple[int, float]], stop: threading.Event) -> None:
    while not stop.wait(0.5):
        with suppress(OSError, AttributeError):
            status = Path(f"/proc/{node.process.pid}/status").read_text()
            memory.append((node.jobs().get("done", 0), int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024))


def throughput(folder: Path, series: int = 6, slices: int = 10) -> dict[str, Any]:
    """Time `ctcycle denoise` and the node on the same series with the shipped bundle.

    The time of the node goes from the first C-STORE to the last object in the archive. `denoise` is timed before and
    after, without the start of Python, and the faster time counts. Both compute with one thread.
    """
    archive = Orthanc(folder / "archive")
    node = NodeProcess(folder, node_config(folder, archive.port, rules=[{}]))
    files, sent = series_of(folder / "sent", series, slices, size=512), Sent()
    before = _denoise_s(folder / "sent", folder / "alone")
    with running(archive, node):
        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            taken = all(pool.map(lambda one: sent.once(node.port, one), files))
            wait_for(lambda: settled(node), 1800)
        node_s = time.monotonic() - started
        computing_s = node.rows("SELECT SUM(seconds) FROM jobs")[0][0]
        found = compare(archive, files)
    after = _denoise_s(folder / "sent", folder / "again")
    best = min(before, after)
    ratio = best / node_s
    rate = {"denoise": series * slices / best, "node": series * slices / node_s}
    return {"series": series, "slices": series * slices, "denoise_s": (round(before, 1), round(after, 1)),
            "node_s": round(node_s, 1), "of_it_computing_s": round(computing_s, 1),
            **{f"{name}_slices_per_s": round(value, 2) for name, value in rate.items()}, "ratio": round(ratio, 3),
            "found": found, "ok": taken and ratio >= 0.9 and _is_right(found, series)}  # fmt: skip


def _denoise_s(folder: Path, out: Path) -> float:
    log = out.with_suffix(".log")
    started = time.monotonic()
    code = nursery(ROOT).start(["denoise", str(folder), str(out), "--device", "cpu"], folder, log).wait(1800)
    assert code == 0, log.read_text()
    return time.monotonic() - started


def full_disk(folder: Path, series: int = 6) -> dict[str, Any]:
    """Fill the disk of the spool: objects are refused with 0xA700; after it is freed, everything arrives."""
    spool = folder / "spool"
    spool.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(spool)], capture_output=True, check=False
    )
    if mounted.returncode:
        return {"skipped": "needs the right to mount a tmpfs", "ok": True}
    archive = Orthanc(folder / "archive")
    node = NodeProcess(folder, node_config(folder, archive.port, limits={"free_mb": 1}))
    files, sent, stop = series_of(folder / "sent", series), Sent(), threading.Event()
    try:
        with running(archive, node):
            filler = spool / "filler"
            with filler.open("wb") as stream, suppress(OSError):
                while True:
                    stream.write(bytes(1 << 16))
                    stream.flush()
            taken_full = sum(sent.once(node.port, one) for one in files)
            alive = echo(node.port)
            filler.unlink()
            for one in files:
                sent.until_taken(node.port, one, stop)
            wait_for(lambda: settled(node), 900)
            found = compare(archive, files)
    finally:
        subprocess.run(["umount", "-l", str(spool)], check=False)
    return {"series_sent": series, "taken_while_full": taken_full, "refused_objects": sent.refused, "alive": alive,
            "found": found,
            "ok": not taken_full and alive and sent.refused > 0 and _is_right(found, series)}  # fmt: skip


def hang(folder: Path, idle_s: float = 3.0) -> dict[str, Any]:
    """A peer stops in the middle of an object; others are served, and its connection ends after a while."""
    archive = Orthanc(folder / "archive")
    config = node_config(folder, archive.port, limits={"free_mb": 10, "idle_seconds": idle_s})
    node = NodeProcess(folder, config)
    files, sent = series_of(folder / "sent", 2), Sent()
    with running(archive, node):
        hanging = [_half_an_object(node.port) for _ in range(5)]
        served = sent.once(node.port, files[0])
        started = time.monotonic()
        for one in hanging:
            one.settimeout(30)
            with suppress(OSError):
                while one.recv(4096):
                    pass
        closed = time.monotonic() - started
        served = served and sent.once(node.port, files[1])
        wait_for(lambda: settled(node), 900)
        left = sum(1 for _ in (node.spool / "new").iterdir())
        found = compare(archive, files)
    return {"hanging": len(hanging), "served_meanwhile": served, "closed_after_s": round(closed, 1),
            "files_left": left, "found": found,
            "ok": served and closed < idle_s + 20 and not left and _is_right(found, 2)}  # fmt: skip


def _half_an_object(port: int) -> socket.socket:
    """Negotiate an association, send a command and a part of a PDU of its object, and stop."""
    entity = AE("SCANNER")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", port, ae_title="CTCYCLE")
    assert association.is_established
    connection: socket.socket = association.dul.socket.socket
    command = bytes.fromhex("0400") + (1000).to_bytes(4, "big") + (996).to_bytes(4, "big") + bytes([1, 0]) + bytes(100)
    connection.send(command)
    return connection.dup()


def garbage(folder: Path, attempts: int = 200, seed: int = 2) -> dict[str, Any]:
    """Noise, web requests, giant lengths and cut requests on the DICOM port."""
    rng = random.Random(seed)  # noqa: S311
    archive = Orthanc(folder / "archive")
    node = NodeProcess(folder, node_config(folder, archive.port, limits={"free_mb": 10, "idle_seconds": 3}))
    files, sent = series_of(folder / "sent", 1), Sent()
    request = bytes.fromhex("01000000") + (200).to_bytes(2, "big") + rng.randbytes(200)
    with running(archive, node):
        before = _memory_mb(node)
        for number in range(attempts):
            kinds = (
                rng.randbytes(rng.randint(1, 5000)),
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                bytes([rng.randint(1, 7), 0]) + b"\xff\xff\xff\xf0" + rng.randbytes(3000),
                request[: rng.randint(1, len(request))],
            )
            with socket.socket() as peer, suppress(OSError):
                peer.settimeout(5)
                peer.connect(("127.0.0.1", node.port))
                peer.sendall(kinds[number % 4])
        grown = _memory_mb(node) - before
        alive = bool(wait_for(lambda: echo(node.port), 30))
        alive = alive and sent.once(node.port, files[0])
        wait_for(lambda: settled(node), 900)
        found = compare(archive, files)
        noise = (folder / "node.err").read_text().count("Traceback")
    return {"attempts": attempts, "alive": alive, "grown_mb": round(grown, 1), "tracebacks": noise, "found": found,
            "ok": alive and grown < 100 and not noise and _is_right(found, 1)}  # fmt: skip


def flood(folder: Path, connections: int = 300, idle_s: float = 10.0) -> dict[str, Any]:
    """Many connections and associations that do nothing; then an honest sender."""
    archive = Orthanc(folder / "archive")
    config = node_config(folder, archive.port, limits={"free_mb": 10, "idle_seconds": idle_s, "associations": 5})
    node = NodeProcess(folder, config)
    files, sent, stop = series_of(folder / "sent", 1), Sent(), threading.Event()
    with running(archive, node):
        idle, threads = [], 0
        for _ in range(connections):
            peer = socket.socket()
            peer.settimeout(2)
            with suppress(OSError):
                peer.connect(("127.0.0.1", node.port))
            idle.append(peer)
            threads = max(threads, _threads(node))
        started = time.monotonic()
        sent.until_taken(node.port, files[0], stop)
        waited = time.monotonic() - started
        for peer in idle:
            peer.close()
        wait_for(lambda: settled(node), 900)
        found = compare(archive, files)
    return {"connections": connections, "most_threads_of_node": threads, "honest_sender_waited_s": round(waited, 1),
            "found": found, "ok": threads < 120 and waited < 60 and _is_right(found, 1)}  # fmt: skip


def echo(port: int) -> bool:
    """Whether the node answers C-ECHO."""
    command = [str(ECHOSCU), "-to", "5", "-aet", "SCANNER", "-aec", "CTCYCLE", "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _memory_mb(node: NodeProcess) -> float:
    assert node.process is not None
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{node.process.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def _threads(node: NodeProcess) -> int:
    assert node.process is not None
    return sum(1 for _ in Path(f"/proc/{node.process.pid}/task").iterdir())


def _is_right(found: Found, series: int) -> bool:
    return found == Found(series, 0, 0)


SCENARIOS = {one.__name__: one for one in (kills, outage, full_disk, hang, garbage, flood, throughput, load)}


def main() -> int:
    """Run scenarios, and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], default=[])
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.scenarios or SCENARIOS:
        with place(arguments.folder) as folder:
            started = time.monotonic()
            figures = SCENARIOS[name](folder)
            failed += not figures["ok"]
            shown = "  ".join(f"{key}={value}" for key, value in figures.items())
            print(f"{name}: {shown}  ({time.monotonic() - started:.0f} s)", flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
