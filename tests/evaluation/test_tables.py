"""Tables of findings for a terminal."""

from ctcycle.evaluation.findings import Finding
from ctcycle.evaluation.physics.bench import MEASURES
from ctcycle.evaluation.tables import findings_table


def test_the_table_shows_intervals_and_gaps() -> None:
    findings = [
        Finding("input", "physics", "noise_hu", 35.71, 35.01, 36.2),
        Finding("mine", "physics", "noise_hu", None, note="no noise is left"),
    ]
    lines = findings_table(["input", "mine"], MEASURES, findings).splitlines()
    assert lines[0].split() == ["input", "mine"]
    assert lines[2].split() == ["Noise,", "HU", "35.7", "(35", "to", "36.2)", "-"]
    assert len(lines) == 2 + len(MEASURES)
    assert len({len(line) for line in lines}) == 1
