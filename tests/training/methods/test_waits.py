"""An update reads no number from the device, which would make the CPU wait for it in every iteration."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_data import METHODS, TinyData, train_config
from torch.utils._python_dispatch import TorchDispatchMode

from ctcycle.training.method import build_method
from ctcycle.training.patches.lesions import CLASSES


class Reads(TorchDispatchMode):
    """Counts the numbers that are read from tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


WAYS = [(name, ()) for name in METHODS] + [
    ("calibrated_pairs", ("loss.contrast=1", "data.lesions={}")),
    ("cyclegan", ("loss.form=wgan_gp", "training.accumulate=2")),
]


@pytest.mark.parametrize(("name", "overrides"), WAYS, ids=str)
def test_an_update_reads_nothing(name: str, overrides: tuple[str, ...], tiny: TinyData, tmp_path: Path) -> None:
    pool = () if "image_pool" not in METHODS[name] else ("image_pool=0",)  # its random numbers are drawn on the CPU
    config: Any = train_config(tiny, tmp_path / "run", name, *pool, *overrides).config
    method = build_method(config, torch.device("cpu"))
    method.updates.parts = config.training.accumulate
    method.updates.optimisers = {  # Adam keeps its number of steps on the CPU, and reads it there
        key: torch.optim.SGD(optimiser.param_groups, lr=1e-3) for key, optimiser in method.updates.optimisers.items()
    }
    batch = {key: 0.1 * torch.randn(2, 1, 32, 32) for key in ("low_dose", "full_dose", "noise")}
    batch["lesions"] = 0.1 * torch.rand(2, 1 + CLASSES, 32, 32)
    for _ in range(2):
        with Reads() as reads:
            method(None, batch)
        assert reads.count == 0


def test_reads_are_noticed() -> None:
    with Reads() as reads:
        torch.ones(1).item()
    assert reads.count == 1
