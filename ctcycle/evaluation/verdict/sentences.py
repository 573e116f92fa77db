"""What a method does to an image, in plain sentences made from its figures; every defect is named."""

import re
from collections.abc import Iterator

from ctcycle.evaluation.findings import Finding
from ctcycle.evaluation.verdict.lookup import Figures, lesion
from ctcycle.evaluation.verdict.rules import LESION, Mark, rule_for

LITTLE = 0.1
"""A method that removes a smaller share of the noise does almost nothing: it keeps everything without merit."""

TYPICAL_LESION = "contrast_kept_3mm_20hu"
UNITS = {"pairs": "cycles/px", "insertion": "cycles/px", "physics": "cycles/mm"}
"""Unit of the frequencies in the spectra of each bench."""

TISSUES = {"air": "air", "lung": "lung", "fat": "fat", "soft": "soft tissue", "bone": "bone"}


def sentences(figures: Figures) -> list[str]:
    """Return what the figures say of their method, the most important first; nothing about what was not measured."""
    parts = (
        *(_noise, _contrast, _small_lesions, _sharpness, _detectability, _texture, _fine_noise),
        *(_hounsfield, _slope, _structures, _patches, _residual, _between_slices, _error, _fine_error),
    )
    return [text for part in parts for text in part(figures)]


def _noise(figures: Figures) -> Iterator[str]:
    removed = figures.value("noise_removed")
    if removed is None:
        return
    if removed >= LITTLE:
        yield f"Removes {_percent(removed)} of the noise."
    elif removed > -0.02:
        share = _percent(max(removed, 0.0))
        yield f"Removes almost none of the noise ({share}), so whatever it keeps is no merit."
    else:
        yield f"Adds noise: {_percent(-removed)} more than the input has."


def _contrast(figures: Figures) -> Iterator[str]:
    found = figures.find(TYPICAL_LESION) or next(iter(figures.match(rf"contrast_kept_{LESION}_\d+hu")), None)
    if found is not None:
        yield f"Keeps {_percent(_value(found))} of the contrast of a {lesion(found.measure)}{_interval(found)}."


def _small_lesions(figures: Figures) -> Iterator[str]:
    """Name the lesion that loses most, where it loses too much."""
    kept = figures.match(rf"contrast_kept_(?:{LESION}_\d+hu|dot)")
    lost = [finding for finding in kept if _is(Mark.BAD, finding)]
    if lost:
        worst = min(lost, key=_value)
        yield f"Loses small or faint lesions: of a {lesion(worst.measure)}, {_percent(_value(worst))} is left."


def _sharpness(figures: Figures) -> Iterator[str]:
    found = figures.match(r"resolution_\w+_f50_ratio")
    if not found:
        return
    worst = min(found, key=_value)
    if _is(Mark.BAD, worst):
        yield f"Blurs: at edges of {_edge(worst.measure)} it keeps {_percent(_value(worst))} of the resolution (f50)."
    else:
        yield f"Keeps the resolution of edges ({_percent(_value(worst))} or more of f50)."


def _detectability(figures: Figures) -> Iterator[str]:
    found = figures.match(rf"d_prime_ratio_{LESION}")
    chosen = next((finding for finding in found if finding.measure.endswith("_3mm")), found[0] if found else None)
    if chosen is None:
        return
    what, ratio = lesion(chosen.measure), f"{_percent(_value(chosen))} of the undenoised scan's{_interval(chosen)}"
    low = chosen.low if chosen.low is not None else _value(chosen)
    high = chosen.high if chosen.high is not None else _value(chosen)
    if low >= 0.95:
        yield f"Keeps the detectability of a {what}: {ratio}."
    elif high < 0.95:
        yield f"Makes a {what} harder to detect: {ratio}."
    else:
        yield f"Is not shown to keep the detectability of a {what}: {ratio}."


def _texture(figures: Figures) -> Iterator[str]:
    found = figures.find("texture_distance")
    if found is None:
        return
    distance = _value(found)
    means = figures.mean_frequencies(found.bench)
    shift = (
        f"mean frequency {means[0]:.2f} against {means[1]:.2f} {UNITS[found.bench]}"
        if means
        else f"distance {distance:.2f}"
    )
    if distance <= 0.1:
        yield f"Its texture is that of full dose ({shift})."
    elif means and abs(means[0] - means[1]) >= 0.01:
        yield f"Its texture is {'coarser' if means[0] < means[1] else 'finer'} than full dose ({shift})."
    else:
        yield f"Its texture differs from full dose (distance {distance:.2f}, limit 0.10)."


def _fine_noise(figures: Figures) -> Iterator[str]:
    ratio = figures.value("fine_power_ratio")
    if ratio is not None and ratio > 1.5:
        yield f"Leaves fine noise: {ratio:.1f} times the power of full dose above 0.4 cycles/px."


def _hounsfield(figures: Figures) -> Iterator[str]:
    beyond = figures.match(r"bias_(?:lung|fat|soft|bone)_beyond_input_hu")
    errors = beyond or figures.match(r"bias_(?:lung|fat|soft|bone)_hu") or figures.match("bias_outside_air_hu|bias_hu")
    wrong = [finding for finding in errors if abs(_value(finding)) > 1.0 and _is_off_itself(figures, finding)]
    scope = ", beyond the input's own error" if beyond else ""
    for finding in wrong:
        value = _value(finding)
        yield f"HU{_tissue(finding.measure)} are {abs(value):.1f} HU too {'high' if value > 0 else 'low'}{scope}."
    if errors and not wrong:
        worst = max(min(abs(_value(finding)), abs(_own_error(figures, finding))) for finding in errors)
        yield f"HU are right within {worst:.1f} HU{scope}."


def _is_off_itself(figures: Figures, beyond: Finding) -> bool:
    """Whether the output is off by more than 1 HU: it is not blamed for mending an error of the input."""
    return abs(_own_error(figures, beyond)) > 1.0


def _own_error(figures: Figures, beyond: Finding) -> float:
    """Return the output's own error where a finding is the part beyond the input's; else the finding's value."""
    own = figures.value(beyond.measure.replace("_beyond_input", ""))
    return _value(beyond) if own is None else own


def _slope(figures: Figures) -> Iterator[str]:
    beyond = figures.value("slope_beyond_input")
    slope = figures.value("slope") if beyond is None else 1 + beyond
    if slope is not None and abs(slope - 1) > 0.01:
        yield f"HU are scaled by {slope:.3f}: differences between tissues are too {'large' if slope > 1 else 'small'}."


def _structures(figures: Figures) -> Iterator[str]:
    ratio = figures.value("false_structures_ratio")
    if ratio is not None and ratio > 2.0:
        yield f"Invents structures: {ratio:.1f} times as many as two full-dose scans differ by."
    elif ratio is not None:
        yield f"Invents no more structures than expected by chance (ratio {ratio:.1f})."


def _patches(figures: Figures) -> Iterator[str]:
    share = figures.value("disagreeing_patches")
    if share is not None and share > 0.05:
        yield (
            f"Invents or erases structures: {_percent(share)} of the patches disagree with full dose "
            "(1 % by chance); the worst are shown."
        )


def _residual(figures: Figures) -> Iterator[str]:
    excess = figures.value("structure_excess")
    if excess is not None and excess > 0.1:
        yield f"Removes structure with the noise: the removed part follows edges (excess correlation {excess:.2f})."


def _between_slices(figures: Figures) -> Iterator[str]:
    ratio = figures.value("between_slices_ratio")
    if ratio is None or abs(ratio - 1) <= 0.25:
        return
    if ratio > 1:
        yield f"Flickers: {ratio:.2f} times full dose's change between slices; slices may even be out of order."
    else:
        yield f"Smooths across slices: {ratio:.2f} times full dose's change between slices."


def _error(figures: Figures) -> Iterator[str]:
    ratio = figures.value("error_over_floor")
    if ratio is None:
        return
    if ratio <= 1.05:
        yield f"Its error is at the floor that full dose's own noise sets ({ratio:.2f} times)."
    else:
        yield f"Its error is {ratio:.2f} times the floor that full dose's own noise sets."


def _fine_error(figures: Figures) -> Iterator[str]:
    ratio = figures.value("error_over_floor_fine")
    if ratio is not None and ratio > 1.5:
        yield f"Its error in fine detail is {ratio:.1f} times the floor there."


def _value(finding: Finding) -> float:
    return float("nan") if finding.value is None else finding.value


def _is(mark: Mark, finding: Finding) -> bool:
    rule = rule_for(finding.measure)
    return rule is not None and rule.of_value(_value(finding)) is mark


def _percent(share: float) -> str:
    return f"{100 * share:z.0f} %"


def _interval(finding: Finding) -> str:
    if finding.low is None or finding.high is None:
        return ""
    return f" (95 %: {100 * finding.low:z.0f} to {100 * finding.high:z.0f} %)"


def _tissue(measure: str) -> str:
    found = re.match(r"bias_(\w+?)_", measure)
    return f" in {TISSUES[found[1]]}" if found and found[1] in TISSUES else ""


def _edge(measure: str) -> str:
    found = re.search(r"(minus|plus)(\d+)", measure)
    return f"{'-' if found[1] == 'minus' else '+'}{found[2]} HU" if found else "test objects"
