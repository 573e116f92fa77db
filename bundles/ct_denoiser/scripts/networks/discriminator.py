# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The PatchGAN discriminator (Isola et al. 2017) and its optional high-pass filter."""

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from scripts.networks.layers import initialise, norm_layer
from scripts.networks.specs import DiscriminatorSpec


class HighPass(nn.Module):
    """High-pass filter ``gain * (x - gaussian(x, sigma))``, with reflection at the borders.

    Args:
        sigma_px: standard deviation of the Gaussian in pixels; its kernel is truncated at three sigma.
        gain: factor applied to the result; saved with the weights.
    """

    gain: Tensor
    kernel: Tensor

    def __init__(self, sigma_px: float, gain: float = 1.0) -> None:
        super().__init__()
        kernel = gaussian_1d(torch.tensor(float(sigma_px)), truncated=3.0, approx="sampled")
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)
        self.register_buffer("gain", torch.tensor(float(gain)))

    def forward(self, image: Tensor) -> Tensor:
        """Filter images (N, C, H, W); H and W must exceed three sigma."""
        with torch.autocast(image.device.type, enabled=False):  # bf16 would add noise of up to 4 HU
            image = image.to(self.kernel.dtype)
            smooth: Tensor = separable_filtering(image, [self.kernel, self.kernel], mode="reflect")
            return self.gain * (image - smooth)


class Discriminator(nn.Module):
    """PatchGAN (Isola et al. 2017) with an optional input filter: images (N, 1, H, W) to patch logits (N, 1, h, w)."""

    def __init__(self, spec: DiscriminatorSpec) -> None:
        super().__init__()
        gain = 1.0 if spec.gain == "auto" else spec.gain
        self.view = HighPass(spec.sigma_px, gain) if spec.view == "highpass" else nn.Identity()
        # MONAI cannot build our group norms for every width, so its batch norms are placeholders and get replaced.
        norm = None if spec.norm == "none" else "BATCH"
        self.patches = PatchDiscriminator(2, spec.filters, 1, num_layers_d=spec.layers, norm=norm, bias=norm is None)  # type: ignore[arg-type]
        _replace_norms(self.patches, spec.norm)
        initialise(self, spec.init, slope=0.2)
        if spec.spectral_norm:
            for conv in [m for m in self.patches.modules() if isinstance(m, nn.Conv2d)]:
                spectral_norm(conv)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, h, w) for images (N, 1, H, W) in the network's range."""
        logits: Tensor = self.patches(self.view(image))[-1]
        return logits


def _replace_norms(net: nn.Module, kind: str) -> None:
    for name, child in net.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(net, name, norm_layer(kind, child.num_features))
        else:
            _replace_norms(child, kind)
