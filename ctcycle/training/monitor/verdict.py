"""What is wrong with a denoiser, as sentences: the measures that exceed the limits of `training.watch`."""

from collections.abc import Collection, Mapping

from ctcycle.config.training import Watch

UNPAIRED = ("adversarial", "cycle", "identity")
"""Keys of the section `loss` that a remedy may name."""


def faults(found: Mapping[str, float], limits: Watch, losses: Collection[str] = UNPAIRED) -> dict[str, str]:
    """Return a sentence for each fault, by kind: "identity", "blur", "shift", "structure", "contrast".

    Args:
        found: see `ctcycle.training.monitor.measures.measure`.
        limits: the limits; one that is None is not checked.
        losses: keys of the section `loss` that the method has; no remedy names another.
    """
    sentences: dict[str, str] = {}
    if _below(found, "removed", limits.least_removed):
        sentences["identity"] = (
            f"the denoiser removes {found['removed']:.0%} of the noise that low dose has beyond full dose, so it is "
            f"close to the identity; train longer, or {_stronger(losses)}"
        )
    if _below(found, "noise_over_full", limits.least_noise):
        sentences["blur"] = (
            f"the denoiser leaves {found['noise_over_full']:.0%} of the noise of full dose, so it blurs; lower the "
            "weight of the noise that is added in training, or check that the domains have the same kernel"
        )
    if worst := _worst_shift(found, limits):
        tissue = {"shift_soft_hu": "soft tissue", "shift_fat_hu": "fat"}.get(worst, "air")
        sentences["shift"] = (
            f"the denoiser shifts {tissue} by {found[worst]:+.1f} HU; {_more(losses, 'identity')}check that the "
            "domains show the same anatomy and have the same HU scale"
        )
    if limits.most_structure is not None and found.get("structure", 0.0) > limits.most_structure:
        sentences["structure"] = (
            f"the denoiser removes {found['structure']:.0%} of the detail of edges; "
            f"{_more(losses, 'cycle', 'identity')}check that the pairs or domains show the same anatomy"
        )
    if _below(found, "contrast", limits.least_contrast):
        sentences["contrast"] = (
            f"the denoiser keeps {found['contrast']:.0%} of the contrast of inserted 3 mm discs; train longer, or with "
            "weaker noise"
        )
    return sentences


def _stronger(losses: Collection[str]) -> str:
    """Return the remedy for a training that does not leave the identity."""
    if "adversarial" in losses:
        return "raise loss.adversarial and schedule.finish_adversarial"
    return "raise optimizer.lr"


def _more(losses: Collection[str], *names: str) -> str:
    """Return the beginning of a remedy: the weights to raise, of those that the method has."""
    known = " or ".join(f"loss.{name}" for name in names if name in losses)
    return f"raise {known}, or " if known else ""


def _below(found: Mapping[str, float], name: str, limit: float | None) -> bool:
    return limit is not None and name in found and found[name] < limit


def _worst_shift(found: Mapping[str, float], limits: Watch) -> str:
    """Return the name of the shift that exceeds its limit most; empty if none does."""
    tissue, air = limits.most_shift_hu, limits.most_air_shift_hu
    limit = {"shift_soft_hu": tissue, "shift_fat_hu": tissue, "shift_air_hu": air}
    ratios = {name: abs(found[name]) / most for name, most in limit.items() if most is not None and name in found}
    worst = max(ratios, key=lambda name: ratios[name], default="")
    return worst if worst and ratios[worst] > 1 else ""
