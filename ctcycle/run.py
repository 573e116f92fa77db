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
import warnings
from collections.abc import Callable, Sequence

from ctcycle.config.components import trusting
from ctcycle.config.loading import LoadedConfig, load_config
from ctcycle.config.shipped import find_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.config.suggestions import near
from ctcycle.config.tasks.node import Serve
from ctcycle.errors import ConfigError, CtcycleError, DivergedError, OutputError, StoppedError
from ctcycle.reference.schema import editor_schema
from ctcycle.runs.launch import launch
from ctcycle.signals import StopNow, stopping_at_once
from ctcycle.tasks.terminal.arguments import POSITIONAL, denoise_overrides
from ctcycle.tasks.terminal.crashes import describe_crash, describe_stop
from ctcycle.tasks.terminal.parsers import (
    COMMANDS,
    MODULE,
    add_common,
    denoise_parser,
    example,
    overview,
    run_parser,
    serve_parser,
)
from ctcycle.tasks.terminal.short_commands import SHORT, ShortCommand
from ctcycle.tasks.terminal.streams import Outlet, safe_streams

_INTERVAL = "TQDM_MININTERVAL"


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
        overview().parse_args(argv)
        raise ConfigError("command line: no command given; try ctcycle denoise IN OUT, or ctcycle --help")


def _run_config(program: str, argv: Sequence[str] | None) -> None:
    arguments = run_parser(program).parse_intermixed_args(argv)
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
            raise ConfigError(f"command line: no config given; try {example(program, 'demo')}")
        overrides.remove(name)
        config = name
    return load_config(find_config(config), overrides)


def _denoise(argv: Sequence[str]) -> None:
    parser = denoise_parser()
    arguments = parser.parse_intermixed_args(argv)
    overrides = ["model=null", *denoise_overrides(arguments), *arguments.overrides]
    twice = [text for text in arguments.overrides if text.partition("=")[0] in POSITIONAL]
    if twice:
        parser.error(f"{twice[0]}: input and output are already set by IN and OUT")
    with trusting(every_target=arguments.trust):
        _run(load_config(find_config("denoise"), overrides), check=arguments.check)


def _short(short: ShortCommand, argv: Sequence[str]) -> None:
    parser = short.parser()
    add_common(parser)
    arguments = parser.parse_intermixed_args(argv)
    with trusting(every_target=arguments.trust):
        _run(load_config(find_config(short.config), short.overrides(arguments)), check=arguments.check)


def _serve(argv: Sequence[str]) -> None:
    arguments = serve_parser().parse_intermixed_args(argv)
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
