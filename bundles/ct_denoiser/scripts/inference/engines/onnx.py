# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""A generator that ONNX Runtime runs on the CPU, to take the place of the torch network in a `Denoiser`."""

from pathlib import Path

import torch
from torch import Tensor, nn

from scripts.errors import BundleError, ConfigError
from scripts.inference.inferers import MULTIPLE

_LARGEST = 1e-5
"""Largest difference from torch of an output, in the network's range; rounding stays far below it."""


class OnnxGenerator(nn.Module):
    """Runs a generator that was exported to ONNX.

    Args:
        path: the file; the network must take images (N, 1, H, W) with H and W multiples of 32.
        threads: number of threads.

    Raises:
        BundleError: the file is missing or cannot be read.
        ConfigError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__()
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as error:
            raise ConfigError(
                "engine=onnx: needs onnxruntime; run `pip install onnxruntime`, or set engine=torch"
            ) from (error)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            raise BundleError(
                f"{path}: cannot be read as ONNX; export the bundle again, or set engine=torch"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._version = onnxruntime.__version__

    def forward(self, image: Tensor) -> Tensor:
        """Translate images (N, 1, H, W) in the network's range."""
        (output,) = self._session.run(None, {self._input: image.contiguous().numpy()})
        return torch.from_numpy(output)

    def extra_repr(self) -> str:
        """Return the version of ONNX Runtime, so that results name it."""
        return f"onnxruntime {self._version}"


@torch.inference_mode()
def check_parity(network: OnnxGenerator, generator: nn.Module, name: str) -> None:
    """Check that an exported network gives what the torch network gives, on noise.

    Args:
        network: the exported network.
        generator: the torch network, on the CPU.
        name: of the file, for the message.

    Raises:
        BundleError: it does not, as if it were exported from other weights.
    """
    noise = torch.randn(1, 1, 2 * MULTIPLE, 3 * MULTIPLE, generator=torch.Generator().manual_seed(0))
    image = 0.3 * noise
    difference = float((network(image) - generator.eval()(image)).abs().max())
    if not difference <= _LARGEST:
        raise BundleError(
            f"{name}: differs from the weights of the model by {difference:.2g} of its range; export the bundle again, "
            "or set engine=torch"
        )
