"""Evaluation of denoisers: scores, benches, statistics over patients, tables; importing it is cheap."""

from typing import Literal, get_args

FilterName = Literal[
    "input",
    "constant",
    "gaussian",
    "gaussian_tuned",
    "median",
    "bilateral",
    "tv",
    "tv_tuned",
    "nlm",
    "nlm_tuned",
    "bm3d",
]
"""Names of the classical methods in `ctcycle.evaluation.methods.filters`."""

FILTER_NAMES: tuple[FilterName, ...] = get_args(FilterName)
DEFAULT_FILTERS: tuple[FilterName, ...] = (
    "input",
    "constant",
    "gaussian",
    "median",
    "bilateral",
    "tv",
    "nlm",
    "nlm_tuned",
)
"""The classical methods of every table, unless others are chosen."""
