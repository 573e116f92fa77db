"""bf16 is used where the device has units for it, and a run keeps the precision that it was started with."""

from pathlib import Path

import pytest
import torch
from tiny_data import TinyData, assert_same_run, train, train_config, training_run

from ctcycle.errors import ConfigError, StoppedError
from ctcycle.runs.checkpoints import read_checkpoint, write_checkpoint
from ctcycle.training.building import build
from ctcycle.training.speed import precision

CPU = torch.device("cpu")
BF16, FORCED, FIRST = "training.precision=bf16", "training.emulate_bf16=true", "training.stop_after_epoch=1"
WARNING = "training.precision=bf16: this device (cpu) has no bf16 units, training in fp32; training.emulate_bf16=true"

pytestmark = pytest.mark.usefixtures("no_figures")


def set_units(monkeypatch: pytest.MonkeyPatch, *, present: bool) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda _device: present)


def saved_precision(run: Path) -> str:
    return str(read_checkpoint(run / "checkpoints" / "last.pt")["precision"]["name"])


@pytest.mark.parametrize(
    ("accepted", "capabilities", "expected"),
    [
        (True, {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, True),
        (True, {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        (False, {"architecture": "x86_64", "avx2": True, "avx_ne_convert": False}, False),
        (True, {"architecture": "aarch64"}, True),
        (False, {"architecture": "aarch64"}, False),
    ],
)
def test_a_cpu_that_emulates_bf16_does_not_compute_it(
    accepted: bool, capabilities: dict[str, object], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: accepted)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert precision.computes_bf16(CPU) is expected


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_without_emulation(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def supported(*, including_emulation: bool) -> bool:
        asked.append(including_emulation)
        return native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert precision.computes_bf16(torch.device("cuda")) is native
    assert asked == [False]


@pytest.mark.slow
def test_without_units_a_run_warns_in_one_line_and_trains_in_fp32(
    tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_units(monkeypatch, present=False)
    run = train(tiny, tmp_path / "run", "cyclegan", BF16)
    log = (run / "log.txt").read_text().splitlines()
    assert [WARNING in line for line in log].count(True) == 1
    plain = train(tiny, tmp_path / "plain", "cyclegan")
    assert_same_run(run, plain)
    assert "precision" not in (plain / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("present", "override"), [(True, ()), (False, (FORCED,))])
def test_units_or_force_give_bf16(
    present: bool, override: tuple[str, ...], tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_units(monkeypatch, present=present)
    run = train(tiny, tmp_path / "run", "supervised", BF16, "training.epochs=4", *override)
    plain = train(tiny, tmp_path / "plain", "supervised")
    assert saved_precision(run) == "bf16"
    assert (run / "metrics.jsonl").read_text() != (plain / "metrics.jsonl").read_text()
    assert "bf16 units" not in (run / "log.txt").read_text()
    weights = read_checkpoint(run / "checkpoints" / "last.pt")["networks"]
    assert {value.dtype for value in weights.values()} == {torch.float32}


@pytest.mark.slow
def test_a_run_started_in_fp32_stays_in_fp32_on_a_device_with_units(
    tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_units(monkeypatch, present=False)
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "supervised", BF16, FIRST)
    set_units(monkeypatch, present=True)
    run = train(tiny, tmp_path / "run", "supervised", BF16)
    assert "training continues in fp32, in which it was started" in (run / "log.txt").read_text()
    assert_same_run(run, train(tiny, tmp_path / "plain", "supervised"))


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_started_in_bf16_is_not_resumed_in_fp32(
    recorded: bool, tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints that do not record their precision were trained in that of the config."""
    set_units(monkeypatch, present=True)
    whole, run = train(tiny, tmp_path / "whole", "supervised", BF16), tmp_path / "run"
    with pytest.raises(StoppedError):
        train(tiny, run, "supervised", BF16, FIRST)
    if not recorded:
        path = run / "checkpoints" / "last.pt"
        write_checkpoint(path, {key: value for key, value in read_checkpoint(path).items() if key != "precision"})
    set_units(monkeypatch, present=False)
    with pytest.raises(ConfigError, match=r"last\.pt: trained in bf16 so far, and this device \(cpu\) has no") as error:
        train(tiny, run, "supervised", BF16)
    assert error.value.exit_code == 2
    train(tiny, run, "supervised", BF16, FORCED)
    assert_same_run(run, whole)


def test_the_parts_of_a_run_know_their_precision(
    tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_units(monkeypatch, present=True)
    parts = build(training_run(train_config(tiny, tmp_path / "run", "cyclegan", BF16)).settings)
    assert parts.precision.name == "bf16"
    assert parts.method.updates.autocast == torch.bfloat16


FP16 = "training.precision=fp16"


@pytest.mark.slow
def test_without_cuda_fp16_becomes_fp32_with_a_warning(tiny: TinyData, tmp_path: Path) -> None:
    run = train(tiny, tmp_path / "run", "cyclegan", FP16)
    assert "training.precision=fp16: needs CUDA, training in fp32 on this device (cpu)" in (run / "log.txt").read_text()
    assert_same_run(run, train(tiny, tmp_path / "plain", "cyclegan"))


@pytest.fixture
def half_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU takes part in fp16, which it emulates."""
    monkeypatch.setattr(precision, "computes", lambda _name, _device: True)


@pytest.mark.usefixtures("half_units")
def test_fp16_scales_losses_and_nearly_gives_the_steps_of_fp32(tiny: TinyData, tmp_path: Path) -> None:
    options = ("generator.dropout=0", "training.epochs=2")
    run = train(tiny, tmp_path / "run", "supervised", FP16, *options)
    state = read_checkpoint(run / "checkpoints" / "last.pt")
    assert state["precision"]["name"] == "fp16"
    assert state["precision"]["scaler"]["scale"] > 1
    plain = read_checkpoint(train(tiny, tmp_path / "plain", "supervised", *options) / "checkpoints" / "last.pt")
    for name, value in plain["networks"].items():
        assert state["networks"][name].dtype == torch.float32
        assert torch.allclose(state["networks"][name], value, atol=5e-3), name


@pytest.mark.slow
@pytest.mark.usefixtures("half_units")
def test_a_resumed_fp16_run_continues_with_its_scale(tiny: TinyData, tmp_path: Path) -> None:
    whole = train(tiny, tmp_path / "whole", "cyclegan", FP16)
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "cyclegan", FP16, FIRST)
    assert_same_run(train(tiny, tmp_path / "run", "cyclegan", FP16), whole)


@pytest.mark.usefixtures("half_units")
def test_a_gradient_that_overflows_skips_the_step_and_lowers_the_scale(tiny: TinyData, tmp_path: Path) -> None:
    parts = build(training_run(train_config(tiny, tmp_path / "run", "supervised", FP16)).settings)
    updates, net = parts.method.updates, parts.method.networks["low2full"]
    assert updates.scaler is not None
    updates.minimise(sum(p.sum() for p in net.parameters()), "gen")  # type: ignore[arg-type]
    scale, before = updates.scaler.get_scale(), [p.clone() for p in net.parameters()]
    updates.minimise(sum(p.sum() for p in net.parameters()) * 1e38, "gen")  # type: ignore[arg-type]
    assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))
    assert updates.scaler.get_scale() < scale


@pytest.mark.usefixtures("half_units")
def test_gradients_are_clipped_after_they_are_unscaled(tiny: TinyData, tmp_path: Path) -> None:
    overrides = (FP16, "optimizer.clip_norm=1000")
    parts = build(training_run(train_config(tiny, tmp_path / "run", "supervised", *overrides)).settings)
    net = parts.method.networks["low2full"]
    parts.method.updates.minimise(sum(p.sum() for p in net.parameters()), "gen")  # type: ignore[arg-type]
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in net.parameters() if p.grad is not None)
