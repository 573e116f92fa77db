"""CycleGAN as its paper describes it (Zhu et al. 2017, sections 3 and 4, and the appendix), and nothing more.

Written from the paper as a reference for time and memory: images and weights in torch's default format, one network
call for each image of the loss, one step of the generators, then one of each discriminator.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _norm(kind: str, channels: int) -> nn.Module:
    kinds = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
    return kinds[kind](channels) if kind in kinds else nn.Identity()


class Block(nn.Module):
    """A residual block: two 3×3 convolutions with reflection padding."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _norm(norm, channels), nn.ReLU()),
            *(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _norm(norm, channels)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add the block's residual."""
        return features + self.body(features)


def generator(width: int, blocks: int, norm: str) -> nn.Module:
    """Return c7s1-64, d128, d256, R256 × blocks, u128, u64, c7s1-1 for one channel (Zhu et al. 2017, 7.2)."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(1, width, 7), _norm(norm, width), nn.ReLU()]
    for channels in (width, 2 * width):
        layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1), _norm(norm, 2 * channels), nn.ReLU()]
    layers += [Block(4 * width, norm) for _ in range(blocks)]
    for channels in (4 * width, 2 * width):
        half = channels // 2
        layers += [nn.ConvTranspose2d(channels, half, 3, 2, 1, 1), _norm(norm, half), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 1, 7), nn.Tanh())


def discriminator(width: int, norm: str) -> nn.Module:
    """Return C64-C128-C256-C512 and the last convolution: the 70×70 PatchGAN."""
    layers: list[nn.Module] = [nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for number, stride in enumerate((2, 2, 1)):
        channels = width * 2**number
        layers += [nn.Conv2d(channels, 2 * channels, 4, stride, 1), _norm(norm, 2 * channels), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


class TextbookCycleGAN:
    """Training steps of the paper: least squares, cycle 10, identity 5, Adam 2e-4.

    Args:
        width: channels of the first convolutions.
        blocks: residual blocks.
        norm: "batch", "instance" or "none".
    """

    def __init__(self, width: int, blocks: int, norm: str) -> None:
        self.to_full, self.to_low = (generator(width, blocks, norm) for _ in range(2))
        self.disc_full, self.disc_low = (discriminator(width, norm) for _ in range(2))
        both = [*self.to_full.parameters(), *self.to_low.parameters()]
        judges = [*self.disc_full.parameters(), *self.disc_low.parameters()]
        self.optim_gen = torch.optim.Adam(both, 2e-4, (0.5, 0.999))
        self.optim_disc = torch.optim.Adam(judges, 2e-4, (0.5, 0.999))

    def step(self, low: Tensor, full: Tensor) -> None:
        """Update all networks on low-dose and full-dose patches (N, 1, H, W)."""
        self._grade(on=False)
        fake_full, fake_low = self.to_full(low), self.to_low(full)
        fooled = sum((net(fake) - 1).square().mean() for net, fake in self._judged(fake_full, fake_low))
        cycle = F.l1_loss(self.to_low(fake_full), low) + F.l1_loss(self.to_full(fake_low), full)
        identity = F.l1_loss(self.to_full(full), full) + F.l1_loss(self.to_low(low), low)
        self.optim_gen.zero_grad()
        (fooled + 10 * cycle + 5 * identity).backward()
        self.optim_gen.step()
        self._grade(on=True)
        self.optim_disc.zero_grad()
        for (net, fake), real in zip(self._judged(fake_full, fake_low), (full, low), strict=True):
            loss = (net(real) - 1).square().mean() + net(fake.detach()).square().mean()
            (0.5 * loss).backward()
        self.optim_disc.step()

    def _judged(self, fake_full: Tensor, fake_low: Tensor) -> Sequence[tuple[nn.Module, Tensor]]:
        return (self.disc_full, fake_full), (self.disc_low, fake_low)

    def _grade(self, *, on: bool) -> None:
        for net in (self.disc_full, self.disc_low):
            net.requires_grad_(on)
