"""The precision of forward passes: what a device computes in hardware, and what a run was started with."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from ctcycle.config.training import Training
from ctcycle.errors import ConfigError
from ctcycle.training.updates import Updates

_log = logging.getLogger(__name__)
PrecisionName = Literal["fp32", "bf16", "fp16"]
_DTYPES: dict[PrecisionName, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_X86_UNITS = ("avx512_bf16", "amx_bf16", "avx_ne_convert")
"""Capabilities of x86 CPUs that have bf16 units; oneDNN also accepts others with AVX-512, on which it emulates bf16."""


def computes(name: PrecisionName, device: torch.device) -> bool:
    """Return whether a device has units for a precision, and training in it is supported there."""
    if name == "bf16":
        return computes_bf16(device)
    return name == "fp32" or device.type == "cuda"


def computes_bf16(device: torch.device) -> bool:
    """Return whether a device has units for bf16; one without emulates it, up to 11 times slower than fp32 on a CPU."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return _cpu_computes_bf16()
    return device.type == "mps" and bool(torch.backends.mps.is_macos_or_newer(14, 0))


def _cpu_computes_bf16() -> bool:
    available = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not (available and torch.ops.mkldnn._is_mkldnn_bf16_supported()):  # noqa: SLF001 (there is no public way)
        return False
    capabilities = torch.cpu.get_capabilities()
    return capabilities["architecture"] != "x86_64" or any(capabilities.get(name) for name in _X86_UNITS)


class Precision:
    """The precision of a training run. It is chosen when the run starts, saved in checkpoints, and then kept.

    Args:
        settings: the section ``training``.
        updates: changed in place.
        device: device of the networks.

    Attributes:
        name: "fp32", "bf16" or "fp16".
    """

    def __init__(self, settings: Training, updates: Updates, device: torch.device) -> None:
        self.settings, self.updates, self.device = settings, updates, device
        wanted: PrecisionName = "fp32" if settings.precision == "auto" else settings.precision
        self.set(wanted if self._usable(wanted) else "fp32")

    def set(self, name: PrecisionName) -> None:
        """Compute forward passes in ``name`` from now on."""
        self.name: PrecisionName = name
        set_precision(self.updates, name, self.device)

    def candidates(self) -> tuple[PrecisionName, ...]:
        """Return the precisions to choose from; the first is that which is in use."""
        return (
            (self.name, "bf16") if self.settings.precision == "auto" and computes("bf16", self.device) else (self.name,)
        )

    def start(self) -> None:
        """Warn if the config asks for a precision and a new run does without."""
        wanted = self.settings.precision
        if wanted == "bf16" and self.name != wanted:
            _log.warning(
                "training.precision=bf16: this device (%s) has no bf16 units, training in fp32; "
                "training.emulate_bf16=true forces bf16, which is many times slower",
                self.device.type,
            )
        elif wanted == "fp16" and self.name != wanted:
            _log.warning("training.precision=fp16: needs CUDA, training in fp32 on this device (%s)", self.device.type)

    def resume(self, checkpoint: Path, name: PrecisionName) -> None:
        """Keep the precision ``name`` that a run was started with.

        Raises:
            ConfigError: this device has no units for it.
        """
        if not self._usable(name):
            forced = ", or set training.emulate_bf16=true, which is many times slower" if name == "bf16" else ""
            raise ConfigError(
                f"{checkpoint}: trained in {name} so far, and this device ({self.device.type}) has no {name} units; "
                f"resume on a device that has{forced}"
            )
        if name != self.settings.precision:
            _log.info("training continues in %s, in which it was started", name)
        self.set(name)

    def _usable(self, name: PrecisionName) -> bool:
        return (name == "bf16" and self.settings.emulate_bf16) or computes(name, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the precision in use, and the state of the loss scaler if there is one."""
        scaler = self.updates.scaler
        return {"name": self.name, **({} if scaler is None else {"scaler": scaler.state_dict()})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the loss scaler; `resume` checks the precision before anything is restored."""
        if self.updates.scaler is not None and "scaler" in state:
            self.updates.scaler.load_state_dict(state["scaler"])


def set_precision(updates: Updates, name: PrecisionName, device: torch.device) -> None:
    """Compute the forward passes of ``updates`` in ``name``; fp16 also scales losses."""
    updates.autocast = _DTYPES[name]
    updates.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None
