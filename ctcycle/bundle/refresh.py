"""Refresh a bundle from the code: ``python -m ctcycle.bundle.refresh bundles/ct_denoiser``.

``scripts/`` and the configs of inference, evaluation and training are written again. What they say about the model is
read from the bundle's own ``configs/inference.json``. Weights, other formats, metadata and model card stay as they are.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ctcycle.atomic import write_json, write_text
from ctcycle.bundle.configs import model_configs
from ctcycle.bundle.scripts import scripts
from ctcycle.errors import BundleError, ConfigError, CtcycleError, OutputError
from ctcycle.runs.bundle_folder import is_bundle, read_bundle_facts


def refresh(bundle: Path) -> None:
    """Write the code and the configs of a bundle again; changes that were made to them by hand are lost.

    Raises:
        BundleError: this is no bundle, or its ``inference.json`` cannot be understood.
        OutputError: a file cannot be written or removed.
    """
    if not is_bundle(bundle):
        raise BundleError(f"{bundle}: not a bundle folder (no configs/metadata.json in it); choose another folder")
    configs = model_configs(read_bundle_facts(bundle, any_target=True))
    _clear(bundle / "scripts")
    for name, text in scripts().items():
        write_text(bundle / "scripts" / name, text)
    for name, content in configs.items():
        write_json(bundle / "configs" / f"{name}.json", content)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own), and return the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if len(arguments) != 1:
            raise ConfigError("command line: needs one bundle folder; run python -m ctcycle.bundle.refresh FOLDER")
        refresh(Path(arguments[0]))
    except CtcycleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{arguments[0]}: scripts and configs are up to date\n")
    return 0


def _clear(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be removed ({error.strerror or error}); remove it by hand") from error


if __name__ == "__main__":
    sys.exit(main())
