"""Train the shipped schedules on as little data as people have, and see whether a denoiser ends as the identity.

    python tests/stress/identity.py
    python tests/stress/identity.py --finish-ramp 0        the schedule that did end so on real scans

One phantom patient a domain, 10 low-dose and 24 full-dose slices, soft kernel, 340 iterations at the demo's scale.
Each line has the share of the noise removed after each quarter, over the share by which the domains differ, and what
the run says of itself. The exit code is 1 if a run ends below the limit of `training.watch` without a sentence.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ctcycle.config.loading import load_config
from ctcycle.config.training import Watch
from ctcycle.data.manifest import write_manifest
from ctcycle.data.scan import scan_sources
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.watch_record import read_watch
from ctcycle.simulation.dataset import simulate_dataset
from ctcycle.simulation.settings import SimulationSettings
from ctcycle.tasks import running

CONFIGS = Path(__file__).parents[2] / "configs"
PHANTOMS = SimulationSettings(patients=2, slices=24, slice_spacing_mm=3.0, size=192, pixel_mm=1.87, views=192)
LOW_DOSE_SLICES = 10
LENGTH = "training.epochs=4 training.iterations_per_epoch=85 validation.every=1 tracking.enabled=false"
METHODS = {"cyclegan": "", "noise_swap": "", "physics_cyclegan": "simulated_noise.views=96 simulated_noise.draws=1"}
"""Methods of unpaired training with an adversary, and what makes them cheaper."""


def make_data(folder: Path) -> Path:
    """Simulate low dose of one patient and full dose of another; return their manifest."""
    simulate_dataset(folder / "series", PHANTOMS, seed=3)
    for path in sorted((folder / "series" / "sim000" / "low_dose").iterdir())[LOW_DOSE_SLICES:]:
        path.unlink()
    shutil.rmtree(folder / "series" / "sim000" / "full_dose")
    shutil.rmtree(folder / "series" / "sim001" / "low_dose")
    split = SplitSettings(train=("sim000", "sim001"))
    report = scan_sources([Source(folder / "series")], folder / "manifest.csv", split)
    write_manifest(folder / "manifest.csv", report.manifest)
    return folder / "manifest.csv"


def removed(run: Path) -> Iterator[float]:
    """Yield the share of the noise removed after each epoch."""
    for record in RunFolder(run).read_metrics():
        if "watch/removed" in record:
            yield record["watch/removed"]


def train(method: str, manifest: Path, out: Path, more: list[str]) -> bool:
    """Train, print a line, and return whether the run ended as the identity without saying so."""
    before = time.process_time()
    places = [f"data.manifest={manifest}", f"out={out}"]
    changes = [*LENGTH.split(), *METHODS[method].split(), *places, *more]
    running.run(load_config(CONFIGS / "experiments" / f"small_{method}.yaml", changes))
    record = read_watch(out)
    if record is None:
        raise SystemExit(f"{method}: was not watched")
    shares = list(removed(out))
    print(
        f"{method}: removed {json.dumps([round(share, 2) for share in shares])}, {time.process_time() - before:.0f} s"
    )
    print(f"  {record.sentence}")
    return shares[-1] < (Watch().least_removed or 0.0) and not record.faults


def main() -> int:
    """Train all methods; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finish-ramp", type=float, help="replaces schedule.finish_ramp")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments = parser.parse_args()
    ramp = [] if arguments.finish_ramp is None else [f"schedule.finish_ramp={arguments.finish_ramp}"]
    more = [*ramp, "training.watch.fail=false"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = make_data(folder)
        silent = sum(train(method, manifest, folder / method, more) for method in arguments.methods)
    return int(silent > 0)


if __name__ == "__main__":
    sys.exit(main())
