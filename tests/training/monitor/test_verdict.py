import pytest

from ctcycle.config.training import Watch
from ctcycle.training.monitor.verdict import faults

GOOD = {
    "removed": 1.0,
    "noise_over_full": 1.0,
    "shift_soft_hu": 0.5,
    "shift_air_hu": -2.0,
    "structure": 0.02,
    "contrast": 0.9,
}


def test_what_is_within_the_limits_is_no_fault() -> None:
    assert faults(GOOD, Watch()) == {}


@pytest.mark.parametrize(
    ("kind", "name", "value", "limit", "text"),
    [
        ("identity", "removed", 0.1, "least_removed", "removes 10% of the noise that low dose has beyond full dose"),
        ("blur", "noise_over_full", 0.05, "least_noise", "leaves 5% of the noise of full dose"),
        ("shift", "shift_soft_hu", 6.0, "most_shift_hu", "shifts soft tissue by +6.0 HU"),
        ("shift", "shift_air_hu", -20.0, "most_air_shift_hu", "shifts air by -20.0 HU"),
        ("structure", "structure", 0.5, "most_structure", "removes 50% of the detail of edges"),
        ("contrast", "contrast", 0.05, "least_contrast", "keeps 5% of the contrast of inserted 3 mm discs"),
    ],
)
def test_each_limit_has_a_sentence_and_can_be_switched_off(
    kind: str, name: str, value: float, limit: str, text: str
) -> None:
    found = faults(GOOD | {name: value}, Watch())
    assert list(found) == [kind]
    assert text in found[kind]
    assert faults(GOOD | {name: value}, Watch.model_validate({limit: None})) == {}
    assert faults({key: value for key, value in GOOD.items() if key != name}, Watch()) == {}


@pytest.mark.parametrize("value", [{"removed": 0.1}, {"shift_soft_hu": 6.0}, {"structure": 0.5}])
def test_a_method_is_not_told_to_change_losses_that_it_does_not_have(value: dict[str, float]) -> None:
    (sentence,) = faults(GOOD | value, Watch(), losses=("contrast",)).values()
    assert "adversarial" not in sentence
    assert "loss." not in sentence
