"""The task `serve`: a DICOM node that receives, denoises and sends."""

from pathlib import Path

from ctcycle.config.shipped import located, shipped_bundle
from ctcycle.config.tasks.node import Serve
from ctcycle.errors import ConfigError, OutputError, StoppedError
from ctcycle.signals import StopNow
from ctcycle.tasks.terminal.console import log_to, say


def run(config: Serve) -> None:
    """Run the node until a signal stops it.

    Raises:
        StoppedError: a signal stopped it.
        ConfigError: the extra `node` is not installed, or a certificate cannot be read.
        OutputError: the spool or an address cannot be used.
        BundleError: a model cannot be loaded.
    """
    try:
        from ctcycle.node.service import serve
        from ctcycle.node.spool import make_root
    except ImportError as error:
        raise _not_installed(error) from error
    make_root(config.out)
    with log_to(config.out / "log.txt"):
        try:
            serve(config, locate)
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, StopNow) else 2
            text = "node: stopped; everything that was received is in the spool, run it again to resume"
            raise StoppedError(text, 128 + number) from None


def check(config: Serve) -> None:
    """Print whether spool, ports, models and peers are as the node needs them.

    Raises:
        ConfigError: the extra `node` is not installed.
        OutputError: something is not; the message names the first.
    """
    try:
        from ctcycle.node.proving import prove
        from ctcycle.node.service import quiet_libraries
        from ctcycle.node.working.models import Models
    except ImportError as error:
        raise _not_installed(error) from error
    quiet_libraries()
    failed = []
    for proof in prove(config, Models(config.device, locate)):
        say(f"{'failed' if proof.error else 'ok':8}{proof.name}: {proof.text}")
        if proof.error:
            failed.append(proof)
    if failed:
        raise OutputError(f"check: {len(failed)} failed, the first is {failed[0].name}: {failed[0].text}")


def locate(model: Path | None) -> Path:
    """Return the folder of a model; the shipped bundle if none is given."""
    return shipped_bundle() if model is None else located(model)


def _not_installed(error: ImportError) -> ConfigError:
    return ConfigError(f"serve: needs {error.name}, which is not installed; pip install 'ctcycle[node]'")
