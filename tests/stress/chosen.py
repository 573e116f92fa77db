"""Compare the checkpoint that is best without pairs with the one that validation pairs choose.

    python tests/stress/chosen.py RUN [RUN ...]

Each run must have validation pairs, ``validation.every=1`` and ``training.watch.every=1``. Its line has the epoch of
the highest validation PSNR, the epoch of the lowest penalty of `training.watch`, and what the second costs in dB. The
exit code is 1 if that is more than 0.3 dB in any run.
"""

import argparse
import sys
from pathlib import Path

from ctcycle.runs.folder import RunFolder

MOST_LOST_DB = 0.3


def by_epoch(run: Path, name: str) -> dict[int, float]:
    """Return a measure by epoch."""
    return {int(record["epoch"]): record[name] for record in RunFolder(run).read_metrics() if name in record}


def compare(run: Path) -> float:
    """Print the line of a run, and return the dB lost."""
    psnr, penalty = by_epoch(run, "val/psnr"), by_epoch(run, "watch/penalty")
    if not psnr.keys() & penalty.keys():
        raise SystemExit(f"{run}: has no epoch that was both validated and measured without pairs")
    known = sorted(psnr.keys() & penalty.keys())
    best, chosen = max(known, key=lambda epoch: psnr[epoch]), min(known, key=lambda epoch: penalty[epoch])
    lost = psnr[best] - psnr[chosen]
    spread = psnr[best] - min(psnr[epoch] for epoch in known)
    print(
        f"{run}: pairs choose epoch {best} ({psnr[best]:.2f} dB), the watch epoch {chosen} ({psnr[chosen]:.2f} dB): "
        f"{lost:.2f} dB lost of a spread of {spread:.2f} dB over {len(known)} epochs"
    )
    return lost


def main() -> int:
    """Compare all runs; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    return int(max([compare(run) for run in parser.parse_args().runs]) > MOST_LOST_DB)


if __name__ == "__main__":
    sys.exit(main())
