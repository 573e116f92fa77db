"""Refresh a bundle from the code: ``python -m ctcycle.bundle.refresh bundles/ct_denoiser``.

Regenerates ``scripts/`` and the configs for inference, evaluation and training. The facts about the model are read from
the bundle's own ``configs/inference.json``. Weights, other formats, metadata and model card are not changed.
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
    """Regenerate the code and configs of a bundle; manual changes to them are lost.

    Raises:
        BundleError: the folder is not a bundle, or its ``inference.json`` is not in the expected form.
        OutputError: a file cannot be written or removed.
    """
    if not is_bundle(bundle):
        raise BundleError(f"{bundle}: not a bundle folder (configs/metadata.json is missing); choose another folder")
    configs = model_configs(read_bundle_facts(bundle, any_target=True))
    _clear(bundle / "scripts")
    for name, text in scripts().items():
        write_text(bundle / "scripts" / name, text)
    for name, content in configs.items():
        write_json(bundle / "configs" / f"{name}.json", content)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: that of the process) and return the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if len(arguments) != 1:
            raise ConfigError("command line: must be one bundle folder; run python -m ctcycle.bundle.refresh FOLDER")
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
        raise OutputError(f"{folder}: cannot remove ({error.strerror or error}); delete it manually") from error


if __name__ == "__main__":
    sys.exit(main())
