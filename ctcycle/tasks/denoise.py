"""The task `denoise`: denoises a series, a volume or a folder of them to files of the same format."""

from tqdm import tqdm

from ctcycle import __version__
from ctcycle.config.schema import Denoise
from ctcycle.config.shipped import located, shipped_bundle
from ctcycle.ct.dicom import Derivation
from ctcycle.errors import one_line
from ctcycle.inference.folders import DenoiseOptions, Images, denoise_folder
from ctcycle.runs import ranks
from ctcycle.runs.models import load_model
from ctcycle.tasks.job import Job


def run(config: Denoise, job: Job) -> str:
    """Denoise every series in ``config.input`` with `ctcycle.inference.folders.denoise_folder`, with progress bars.

    Returns:
        A summary for the terminal.

    Raises:
        SeriesError: no series was found, some series could not be denoised, or files are damaged; the message names
            the first of them.
        BundleError: the run or bundle contains no denoiser.
        OutputError: the output cannot be written.
    """
    folder = shipped_bundle() if config.model is None else located(config.model)
    model = load_model(folder, config.checkpoint, config.device)
    if config.engine == "onnx":
        from ctcycle.bundle.onnx_engine import with_onnx

        model = with_onnx(model, folder)
    strength = 1.0 if config.strength == "auto" else config.strength
    denoiser = model.denoiser(strength=strength, tile=config.tile, average_flips=config.average_flips)
    options = DenoiseOptions(
        overwrite=config.overwrite,
        assume_hu=config.assume_hu,
        slice_axis=config.slice_axis,
        residual=config.residual,
        uncertainty=config.uncertainty,
        strict=config.strict,
        keep_private=config.keep_private,
        progress=_bar,
        auto_strength=config.strength == "auto",
        finished=job.folder.finish,
        sharing=ranks,
    )
    derivation = Derivation(__version__, model.name, model.digest)
    return denoise_folder(config.input, config.out, denoiser, derivation, options, model.fingerprint)


def _bar(images: Images, name: str, count: int) -> Images:
    shown: Images = tqdm(images, desc=one_line(name), total=count, unit="slice", dynamic_ncols=True)
    return shown
