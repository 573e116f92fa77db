"""The command line: ``python -m ctcycle.run --config FILE [key.sub=value ...]``.

Exit codes: 0 done; 2 command line or config; 3 input data; 4 output or storage; 5 training diverged; 130, 143 and 138
stopped by SIGINT, SIGTERM and SIGUSR1; 1 a fault of the program. The last line on stderr says in one sentence what
happened.
"""

import argparse
import errno
import json
import os
import select
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ctcycle import __version__
from ctcycle.config.components import trusting
from ctcycle.config.loading import json_schema, load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import ConfigError, CtcycleError, OutputError
from ctcycle.signals import StopNow, stopping_at_once
from ctcycle.tasks.crashes import describe_crash

COMMAND = "python -m ctcycle.run"

EXAMPLES = {
    "simulate": ("simulated CT of many patients, as DICOM series", "configs/simulate.yaml simulation.patients=10"),
    "scan": ("folders of CT to a manifest: which series, whose, which split", "configs/scan.yaml out=runs/my_data"),
    "train": ("a denoiser, with or without pairs", "configs/cyclegan.yaml training.epochs=20"),
    "evaluate": ("trained runs against the full dose of held-out patients", "configs/evaluate.yaml split=val"),
    "denoise": ("new low-dose series to denoised ones", "configs/denoise.yaml input=incoming out=denoised"),
    "bundle": ("a trained denoiser to a MONAI bundle, which runs without ctcycle", "configs/bundle.yaml version=0.2.0"),
    "pipeline": ("several of these, one after another", "configs/demo.yaml"),
}
"""Each task: what it does, and the arguments of an example."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``argv`` (default: the process's own) and gives the exit code.

    Raises:
        SystemExit: after ``--help`` and ``--version``.
    """
    _quiet_third_parties()
    try:
        with stopping_at_once():
            arguments = _parse(argv)
            with trusting(every_target=arguments.trust):
                _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError as error:
        return 128 + 13 if _reader_gone() else _explain_crash(error)  # what a shell reports for SIGPIPE
    except StopNow as stop:
        name = signal.Signals(stop.number).name
        return _say(f"stopped by {name}; the same command starts again or continues", 128 + stop.number)
    except KeyboardInterrupt:
        return _say("stopped by the keyboard; the same command starts again or continues", 130)
    except CtcycleError as error:
        return _say(str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 (the last resort: nothing may end without its sentence)
        return _explain_crash(error)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if arguments.schema:
        print(json.dumps(json_schema(), indent=2))
        return
    if arguments.config is None:
        raise ConfigError(f"command line: --config FILE is missing; for example {COMMAND} --config configs/demo.yaml")
    loaded = load_config(arguments.config, arguments.overrides)
    if arguments.check:
        print(dump_yaml(loaded.resolved), end="")
        return
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "15")  # seconds between the lines that bars leave in a log file
    from ctcycle.tasks.running import run

    run(loaded)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog=COMMAND,
        usage=f"{COMMAND} --config FILE [--check] [--trust] [key.sub=value ...]",
        description="Low-dose CT denoising without paired training data. A config names one task:\n\n" + _tasks(),
        epilog="Values are YAML, and paths are relative to the current folder. The configs say what can be set.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, action=_Once, metavar="FILE", help="the YAML file that says what to do")
    parser.add_argument("--check", action="store_true", help="only check the config, and print it with all defaults")
    parser.add_argument("--trust", action="store_true", help="run the code of any `_target_`; read SECURITY.md first")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs, for editors")
    parser.add_argument("--version", action="version", version=f"ctcycle {__version__}")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="changes single values of the config")
    return parser.parse_intermixed_args(argv)


def _tasks() -> str:
    return "\n".join(f"  {task:10}{what}\n{'':12}{COMMAND} --config {how}" for task, (what, how) in EXAMPLES.items())


class _Parser(argparse.ArgumentParser):
    """Reports a bad command line like every other mistake."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage and leaving."""
        raise ConfigError(f"command line: {message}; {COMMAND} --help shows what there is")


class _Once(argparse.Action):
    """Refuses an option that is given again, where argparse would forget the first."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        """Stores the value."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option} is given more than once; a run has one config, which may name another as its base")
        setattr(namespace, self.dest, values)


def _say(sentence: str, exit_code: int) -> int:
    _end_bars()
    print(sentence, file=sys.stderr if exit_code else sys.stdout, flush=True)
    return exit_code


def _end_bars() -> None:
    """Ends the line of every bar that an error left open, or it would be drawn over, or after, the last sentence."""
    if (tqdm := sys.modules.get("tqdm")) is None:
        return
    for bar in sorted(tqdm.tqdm._instances, key=lambda bar: abs(bar.pos)):  # noqa: SLF001 (there is no public way)
        bar.leave = True  # a bar that erases itself would not end its line
        bar.close()


def _explain_crash(error: Exception) -> int:
    _end_bars()
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
        return _say(f"{error.filename or 'output'}: cannot be written ({error.strerror})", OutputError.exit_code)
    print(describe_crash(error), file=sys.stderr)
    return _say(f"ctcycle failed with {type(error).__name__}; this is a fault of the program, see the lines above", 1)


def _reader_gone() -> bool:
    """Whether it was our reader that left (``| head``): nothing to complain about, now or at the interpreter's end."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _quiet_third_parties() -> None:
    """Hides warnings that no user of ours can act on."""
    # importing monai scripts TorchScript classes, deprecated since torch 2.13
    warnings.filterwarnings("ignore", r".*torch\.jit", DeprecationWarning)
    warnings.filterwarnings("ignore", r".*torch\.jit", FutureWarning)
    # pydicom quotes values of the header, which may identify a patient
    warnings.filterwarnings("ignore", module=r"pydicom\.")


if __name__ == "__main__":
    sys.exit(main())
