"""Runs benchmarks: ``python -m benchmarks [NAME ...] [--rounds N] [--tiny] [--threads N]``."""

import argparse
import logging
import sys
from importlib import import_module

NAMES = ("training", "loader", "inference", "evaluation", "series", "start_up", "scaling", "costs")


def main(argv: list[str] | None = None) -> int:
    """Run the named benchmarks, all by default, and print their tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the speed of ctcycle.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds of each table; default: 7")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; default: 1")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and images, to check that all runs")
    given = parser.parse_args(argv)
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"unknown benchmark {unknown[0]}; choose from {', '.join(NAMES)}")
    import torch

    from benchmarks.measuring import machine

    torch.set_num_threads(given.threads)
    logging.getLogger("ctcycle").setLevel(logging.ERROR)
    sys.stdout.write(f"{machine()}; rounds: {given.rounds}\n\n")
    for name in given.names or NAMES:
        module = import_module(f"benchmarks.{name}")
        texts = (
            [module.text()] if name == "costs" else [t.text() for t in module.run(tiny=given.tiny, rounds=given.rounds)]
        )
        sys.stdout.write("".join(f"{text}\n" for text in texts))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
