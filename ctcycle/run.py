"""The command line: ``ctcycle denoise IN OUT``, ``ctcycle run NAME [key.sub=value ...]``.

``python -m ctcycle.run`` is the same as ``ctcycle run``: both take ``--config FILE`` or the name of a shipped config.

Exit codes: 0 success; 1 internal error; 2 command line or config; 3 input data; 4 output or storage; 5 training
diverged; 130, 143 and 138 interrupted by SIGINT, SIGTERM and SIGUSR1. On failure, the last line on stderr states the
reason in one sentence.
"""

import argparse
import errno
import json
import os
import re
import signal
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from ctcycle import __version__
from ctcycle.config.components import trusting
from ctcycle.config.loading import LoadedConfig, load_config
from ctcycle.config.shipped import config_names, find_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.config.suggestions import near
from ctcycle.config.tasks.node import Serve
from ctcycle.errors import ConfigError, CtcycleError, DivergedError, OutputError, StoppedError
from ctcycle.reference.schema import editor_schema
from ctcycle.runs.launch import launch
from ctcycle.signals import StopNow, stopping_at_once
from ctcycle.tasks.terminal.arguments import POSITIONAL, Once, Parser, add_denoise_arguments, denoise_overrides
from ctcycle.tasks.terminal.crashes import describe_crash, describe_stop
from ctcycle.tasks.terminal.short_commands import SHORT, ShortCommand
from ctcycle.tasks.terminal.streams import Outlet, safe_streams

MODULE = "python -m ctcycle.run"
_INTERVAL = "TQDM_MININTERVAL"
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m ctcycle.run`` with ``argv`` (default: the process's arguments) and return the exit code.

    Raises:
        SystemExit: after ``--help`` and ``--version``.
    """
    return _exit_code(lambda: _run_config(MODULE, argv))


def command(argv: Sequence[str] | None = None) -> int:
    """Run ``ctcycle`` with ``argv`` (default: the process's arguments) and return the exit code.

    Raises:
        SystemExit: after ``--help`` and ``--version``.
    """
    return _exit_code(lambda: _run_command(sys.argv[1:] if argv is None else argv))


def _exit_code(work: Callable[[], None]) -> int:
    """Do the work; return its exit code, after printing one sentence if it failed."""
    _quiet_third_parties()
    with safe_streams(silent=launch().rank > 0):
        return _outcome(work)


def _outcome(work: Callable[[], None]) -> int:
    try:
        with stopping_at_once():
            work()
    except _ReaderGoneError:
        return 128 + 13  # the code a shell reports for SIGPIPE
    except KeyboardInterrupt as stop:
        return _say(describe_stop(stop), 128 + (stop.number if isinstance(stop, StopNow) else signal.SIGINT))
    except CtcycleError as error:
        if not isinstance(error, ConfigError | StoppedError | DivergedError):  # the same on rank 0
            _say_from_other_rank(str(error))
        return _say(str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 (the last resort: every failure ends with a sentence)
        return _explain_crash(error)
    return 0


def _run_command(argv: Sequence[str]) -> None:
    name, *rest = argv or [""]
    if name == "run":
        _run_config("ctcycle run", rest)
    elif name == "denoise":
        _denoise(rest)
    elif name in SHORT:
        _short(SHORT[name], rest)
    elif name == "serve":
        _serve(rest)
    elif name and not name.startswith("-"):
        hint = near(name, COMMANDS) or f"; the commands are {', '.join(COMMANDS)}"
        raise ConfigError(f"command line: unknown command '{name}'{hint}")
    else:
        _overview().parse_args(argv)
        raise ConfigError("command line: no command given; try ctcycle denoise IN OUT, or ctcycle --help")


def _run_config(program: str, argv: Sequence[str] | None) -> None:
    arguments = _run_parser(program).parse_intermixed_args(argv)
    if arguments.schema:
        _print_all(json.dumps(editor_schema(), indent=2))
        return
    with trusting(every_target=arguments.trust):
        _run(_named_config(program, arguments), check=arguments.check)


def _named_config(program: str, arguments: argparse.Namespace) -> LoadedConfig:
    """Load the config given by ``--config``, or else by the first argument without "="."""
    config, overrides = arguments.config, list(arguments.overrides)
    if config is None:
        name = next((text for text in overrides if "=" not in text), None)
        if name is None:
            example = _example(program, "demo")
            raise ConfigError(f"command line: no config given; try {example}")
        overrides.remove(name)
        config = name
    return load_config(find_config(config), overrides)


def _denoise(argv: Sequence[str]) -> None:
    parser = _denoise_parser()
    arguments = parser.parse_intermixed_args(argv)
    overrides = ["model=null", *denoise_overrides(arguments), *arguments.overrides]
    twice = [text for text in arguments.overrides if text.partition("=")[0] in POSITIONAL]
    if twice:
        parser.error(f"{twice[0]}: input and output are already set by IN and OUT")
    with trusting(every_target=arguments.trust):
        _run(load_config(find_config("denoise"), overrides), check=arguments.check)


def _short(short: ShortCommand, argv: Sequence[str]) -> None:
    parser = short.parser()
    _add_common(parser)
    arguments = parser.parse_intermixed_args(argv)
    with trusting(every_target=arguments.trust):
        _run(load_config(find_config(short.config), short.overrides(arguments)), check=arguments.check)


def _serve(argv: Sequence[str]) -> None:
    arguments = _serve_parser().parse_intermixed_args(argv)
    loaded = load_config(find_config(arguments.config or "serve"), arguments.overrides)
    if not isinstance(loaded.config, Serve):
        raise ConfigError(f"{loaded.path}: is a config of task '{loaded.config.task}'; give one of task 'serve'")
    if arguments.check:
        from ctcycle.tasks.serve import check

        check(loaded.config)
        return
    _run(loaded, check=False)


def _run(loaded: LoadedConfig, *, check: bool) -> None:
    if check:
        _print_all(dump_yaml(loaded.resolved).rstrip("\n"))
        return
    if not sys.stderr.isatty():
        os.environ.setdefault(_INTERVAL, "15")  # seconds between the lines of progress bars in a log file
    if not re.fullmatch(r"\d*\.?\d+", os.environ.get(_INTERVAL, "1")):
        raise ConfigError(f"environment variable {_INTERVAL}: {os.environ[_INTERVAL]!r} is not a number of seconds")
    from ctcycle.tasks.running import run

    run(loaded)


def _overview() -> argparse.ArgumentParser:
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


def _run_parser(program: str) -> argparse.ArgumentParser:
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
    _add_common(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs, for editors")
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="NAME key.sub=value",
        help="a shipped config; overrides of single values",
    )
    return parser


def _denoise_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ctcycle denoise",
        usage="ctcycle denoise IN OUT [options] [key=value ...]",
        description="Denoise low-dose CT in HU. Geometry and file format are preserved. "
        "OUT also gets a log, a summary and the config. Research use only: not for diagnosis.",
        epilog="Each option can also be written as key=value, for example strength=0.7 or average_flips=false.",
        allow_abbrev=False,
    )
    add_denoise_arguments(parser)
    _add_common(parser)
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="the same options as config overrides"
    )
    return parser


def _serve_parser() -> argparse.ArgumentParser:
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


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="only validate the config, and print it with all defaults")
    parser.add_argument("--trust", action="store_true", help="run the code of any `_target_`; read SECURITY.md first")
    _add_version(parser)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"ctcycle {__version__}")


def _tasks(program: str) -> str:
    return "\n".join(
        f"  {task:10}{what}\n{'':12}{_example(program, config, overrides)}"
        for task, (what, config, overrides) in EXAMPLES.items()
    )


def _example(program: str, config: str, overrides: str = "") -> str:
    named = f"--config configs/{config}.yaml" if program == MODULE else config
    return f"{program} {named} {overrides}".rstrip()


def _say(sentence: str, exit_code: int) -> int:
    _end_bars()
    sys.stdout.flush()  # in a log of both streams, the sentence comes last
    print(sentence, file=sys.stderr if exit_code else sys.stdout, flush=True)
    return exit_code


def _say_from_other_rank(text: str) -> None:
    """Print text that only a rank other than the first knows of; all else that these ranks print is dropped."""
    if rank := launch().rank:
        print(f"rank {rank}: {text}", file=Outlet(sys.__stderr__), flush=True)


def _end_bars() -> None:
    """Close all progress bars that an error left open, so that they do not overwrite or follow the last sentence."""
    if (tqdm := sys.modules.get("tqdm")) is None:
        return
    for bar in sorted(tqdm.tqdm._instances, key=lambda bar: abs(bar.pos)):  # noqa: SLF001 (there is no public way)
        bar.leave = True  # a bar that erases itself does not end its line
        bar.close()


def _explain_crash(error: Exception) -> int:
    _end_bars()
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
        path = error.filename or "output"
        sentence = f"{path}: cannot write ({error.strerror}); free up space or choose another location"
        _say_from_other_rank(sentence)
        return _say(sentence, OutputError.exit_code)
    if _is_lack_of_memory(error):
        text = re.sub(r"\s+", " ", str(error))[:200]
        sentence = f"not enough memory ({text}); use smaller patches, batches, tiles or networks"
        _say_from_other_rank(sentence)
        return _say(sentence, 1)
    print(describe_crash(error), file=sys.stderr)
    _say_from_other_rank(describe_crash(error))
    name = type(error).__name__
    return _say(f"internal error ({name}, traceback above); this is a bug in ctcycle, please report it", 1)


def _is_lack_of_memory(error: Exception) -> bool:
    """Return whether Python, numpy or torch could not get the memory they asked for."""
    texts = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


class _ReaderGoneError(Exception):
    """Whoever asked for text has closed standard output (``| head``)."""


def _print_all(text: str) -> None:
    """Print text that the command was asked for; unlike messages, it must not be lost.

    Raises:
        OSError: the disk behind standard output is full.
        _ReaderGoneError: nobody reads standard output any more.
    """
    print(text, flush=True)
    lost = sys.stdout.lost if isinstance(sys.stdout, Outlet) else None
    if isinstance(lost, BrokenPipeError):
        raise _ReaderGoneError from lost
    if lost is not None:
        raise lost


def _quiet_third_parties() -> None:
    """Hide third-party warnings that users cannot act on."""
    # importing monai scripts TorchScript classes, deprecated since torch 2.13
    warnings.filterwarnings("ignore", r".*torch\.jit", DeprecationWarning)
    warnings.filterwarnings("ignore", r".*torch\.jit", FutureWarning)
    # pydicom quotes values of the header, which may identify a patient
    warnings.filterwarnings("ignore", module=r"pydicom\.")


if __name__ == "__main__":
    sys.exit(main())
