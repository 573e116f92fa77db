"""The parsers of the command line, and what its help says of commands and tasks."""

import argparse
import textwrap
from pathlib import Path

from ctcycle import __version__
from ctcycle.config.shipped import config_names
from ctcycle.tasks.terminal.arguments import Once, Parser, add_denoise_arguments

MODULE = "python -m ctcycle.run"
COMMANDS = {
    "inspect": (
        "look at folders of CT before training, and propose how to train on them",
        "ctcycle inspect data",
    ),
    "denoise": (
        "denoise low-dose series with the shipped bundle or your own model",
        "ctcycle denoise incoming denoised",
    ),
    "view": (
        "show series before and after denoising, as pages to scroll through in a browser",
        "ctcycle view incoming denoised",
    ),
    "serve": (
        "run a DICOM node that receives series, denoises them and sends the results",
        "ctcycle serve --config node.yaml",
    ),
    "run": ("run any task from a config, such as train, evaluate or bundle", "ctcycle run demo"),
}
"""The commands of ``ctcycle``, each with its purpose and an example."""

EXAMPLES = {
    "simulate": ("simulate CT of phantom patients, as DICOM series", "simulate", "simulation.patients=10"),
    "inspect": ("look at folders of CT, and propose how to train on them", "inspect", "slices=16"),
    "scan": ("index folders of CT in a manifest: series, patients, splits", "scan", "out=runs/my_data"),
    "train": ("train a denoiser, with or without pairs", "cyclegan", "training.epochs=20"),
    "sweep": ("train one config with many values of its keys", "sweep", "search=optuna trials=20"),
    "evaluate": ("evaluate trained runs against the full dose of held-out patients", "evaluate", "split=val"),
    "bench": ("measure denoisers on simulated scans with known truth; needs no data", "bench", "physics.kernel=d45"),
    "denoise": ("denoise new low-dose series", "denoise", "input=incoming out=denoised"),
    "view": ("show series before and after denoising in a browser", "view", "input=incoming denoised=denoised"),
    "bundle": ("export a trained denoiser as a MONAI bundle, which runs without ctcycle", "bundle", "version=0.2.0"),
    "register": ("register a bundle as an MLflow model, which MLflow loads and serves", "register", "alias=champion"),
    "serve": ("run a DICOM node: receive series, denoise them, send the results", "serve", "out=spool"),
    "pipeline": ("run several tasks in order", "demo", ""),
}
"""The tasks, each with its purpose and the config and overrides of an example."""


def overview() -> argparse.ArgumentParser:
    """Return the parser of ``ctcycle`` without a command, which lists the commands."""
    listed = "\n".join(f"  {name:10}{what}\n{'':12}{how}" for name, (what, how) in COMMANDS.items())
    parser = Parser(
        prog="ctcycle",
        usage="ctcycle COMMAND ...",
        description=f"Low-dose CT denoising without paired training data.\n\n{listed}",
        epilog="Run ctcycle COMMAND --help for the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_version(parser)
    return parser


def run_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of ``ctcycle run`` or of ``python -m ctcycle.run``, whichever ``program`` is."""
    parser = Parser(
        prog=program,
        usage=f"{program} {{--config FILE | NAME}} [--check] [--trust] [key.sub=value ...]",
        description=f"Low-dose CT denoising without paired data. A config names one task:\n\n{_tasks(program)}",
        epilog="Values are YAML; paths are relative to the current folder. The shipped configs document the keys.\n\n"
        + textwrap.fill(f"Shipped configs: {', '.join(config_names())}", 100, break_on_hyphens=False),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, action=Once, metavar="FILE", help="the config, a YAML file")
    add_common(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs, for editors")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="NAME key.sub=value",
        help="a shipped config; overrides of single values",
    )
    return parser


def denoise_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ctcycle denoise``."""
    parser = Parser(
        prog="ctcycle denoise",
        usage="ctcycle denoise IN OUT [options] [key=value ...]",
        description="Denoise low-dose CT in HU. Geometry and file format are preserved. "
        "OUT also gets a log, a summary and the config. Research use only: not for diagnosis.",
        epilog="Each option can also be written as key=value, for example strength=0.7 or average_flips=false.",
        allow_abbrev=False,
    )
    add_denoise_arguments(parser)
    add_common(parser)
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="the same options as config overrides"
    )
    return parser


def serve_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ctcycle serve``."""
    parser = Parser(
        prog="ctcycle serve",
        usage="ctcycle serve [--config FILE] [--check] [key=value ...]",
        description="Run a DICOM node: receive CT series, denoise them, and send the results. "
        "Research use only: not for diagnosis.",
        epilog="The config defaults to the shipped configs/serve.yaml, which documents the keys.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, action=Once, metavar="FILE", help="the config, a YAML file")
    parser.add_argument(
        "--check", action="store_true", help="only prove that config, spool, models and peers work, then exit"
    )
    _add_version(parser)
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="overrides of single values")
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command but ``serve`` has."""
    parser.add_argument("--check", action="store_true", help="only validate the config, and print it with all defaults")
    parser.add_argument("--trust", action="store_true", help="run the code of any `_target_`; read SECURITY.md first")
    _add_version(parser)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"ctcycle {__version__}")


def _tasks(program: str) -> str:
    return "\n".join(
        f"  {task:10}{what}\n{'':12}{example(program, config, overrides)}"
        for task, (what, config, overrides) in EXAMPLES.items()
    )


def example(program: str, config: str, overrides: str = "") -> str:
    """Return the command line that runs a shipped config."""
    named = f"--config configs/{config}.yaml" if program == MODULE else config
    return f"{program} {named} {overrides}".rstrip()
