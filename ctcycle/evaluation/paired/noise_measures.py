"""Measures of noise in flat tissue that more than one bench reports, under one definition."""

from ctcycle.evaluation.findings import Measure

NOISE_REMOVED = Measure(
    "noise_removed",
    "Noise removed",
    "",
    "higher",
    "1 - noise of the output over that of the input, in flat windows of soft tissue after removing their trend.",
)
NOISE_OVER_FULL = Measure(
    "noise_over_full",
    "Noise over full dose",
    "",
    "one",
    "Noise of the output over that of full dose, in flat windows of soft tissue after removing their trend.",
)
TEXTURE_DISTANCE = Measure(
    "texture_distance",
    "Texture distance to full dose",
    "",
    "lower",
    "Half the sum of absolute differences of f NPS(f), each normalised to 1 (AAPM TG-233); 0 for the same texture, "
    "whatever the levels. Few windows raise it.",
)
