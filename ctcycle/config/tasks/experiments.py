"""Config of tasks around MLflow and many trainings: register a model, and sweep over the keys of a training config."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from ctcycle.config.sections import Count, FilePath, Section, Task
from ctcycle.config.training import Tracking

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]*$", max_length=200)]


def _free_alias(alias: str) -> str:
    if re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise ValueError(f"'{alias}' is reserved by MLflow; choose another alias, such as champion")
    return alias


ModelAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=200), AfterValidator(_free_alias)]


def dotted(tree: Mapping[str, Any], is_leaf: Callable[[Mapping[str, Any]], bool], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted keys; a mapping may be a leaf as well."""
    found: dict[str, Any] = {}
    for name, part in tree.items():
        key = f"{prefix}{name}"
        if isinstance(part, Mapping) and not is_leaf(part):
            found |= dotted(part, is_leaf, f"{key}.")
        else:
            found[key] = part
    return found


class Register(Task):
    """Log a bundle to MLflow as a model that it can load and serve, and register it under a name."""

    task: Literal["register"]
    bundle: FilePath = Field(description="bundle folder exported by the task bundle")
    run: FilePath | None = Field(
        None, description="run folder that the bundle was exported from, whose MLflow run gets the model; default: none"
    )
    name: ModelName | None = Field(None, description="name in MLflow's registry; default: name of the bundle")
    alias: ModelAlias | None = Field(
        None, description="alias that then names this version, as in models:/NAME@ALIAS; for example champion"
    )
    tracking: Tracking = Tracking()


class Range(Section):
    """A range of numbers that a sweep draws from."""

    low: float = Field(description="the lowest value")
    high: float = Field(description="the highest value")
    log: bool = Field(False, description="draw the logarithm evenly; low must be positive")
    step: float | None = Field(None, gt=0, description="draw only low, low + step, ...; not with log")
    whole: bool = Field(False, description="draw whole numbers")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high={self.high:g} must be above low={self.low:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low:g} must be positive with log=true")
        if self.log and self.step is not None:
            raise ValueError("step and log=true are both set; set only one of them")
        if self.whole and any(value != int(value) for value in (self.low, self.high, self.step or 1)):
            raise ValueError("low, high and step must be whole numbers with whole=true")
        return self


def _choices_or_range(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "choices"


Varied = Annotated[
    Annotated[Annotated[list[Any], Field(min_length=1)], Tag("choices")] | Annotated[Range, Tag("range")],
    Discriminator(_choices_or_range),
]
"""The values of one key: a list, or a range (only with search=optuna)."""


class Prune(Section):
    """Ends trials early whose score is worse than the median of the others at the same epoch."""

    enabled: bool = Field(True, description="end bad trials early; needs Optuna")
    trials: Count = Field(3, description="finished trials before any is ended early")
    epochs: Count = Field(2, description="the first epoch after which a trial can be ended early")


class Sweep(Task):
    """Train one config with many values of some of its keys, and compare the results.

    Each trial is a training run of its own in ``out``. A sweep that was stopped resumes; finished trials are kept.
    """

    task: Literal["sweep"]
    train: str = Field(min_length=1, description="a training config: a YAML file, or the name of a shipped config")
    set: dict[str, Any] = Field(
        default_factory=dict, description="values of keys for all trials, as {training.epochs: 20}"
    )
    vary: Annotated[dict[str, Varied], Field(min_length=1)] = Field(
        description="values of keys to try, as {optimizer.lr: [1.0e-4, 2.0e-4]}; with search=optuna also ranges, as "
        "{optimizer.lr: {low: 1.0e-5, high: 1.0e-3, log: true}}"
    )
    search: Literal["grid", "optuna"] = Field(
        "grid", description="grid: all combinations; optuna: draws that learn from earlier trials (pip install optuna)"
    )
    trials: Count | None = Field(None, description="number of trials; needed with optuna; grid: default all")
    prune: Prune = Field(Prune(enabled=False), description="end bad trials early")
    score: Literal["auto", "val/psnr", "watch/penalty"] = Field(
        "auto",
        description="auto: val/psnr if there are validation pairs, else watch/penalty, which needs no pairs",
    )
    tracking: Tracking = Field(Tracking(), description="MLflow run of the sweep; its trials are in the same store")

    @field_validator("set", mode="before")
    @classmethod
    def _set_by_dotted_keys(cls, given: Any) -> Any:
        return dotted(given, lambda _part: False) if isinstance(given, dict) else given

    @field_validator("vary", mode="before")
    @classmethod
    def _vary_by_dotted_keys(cls, given: Any) -> Any:
        return dotted(given, lambda part: bool(part.keys() & {"low", "high"})) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        ranges = [key for key, values in self.vary.items() if isinstance(values, Range)]
        if self.search == "grid" and ranges:
            raise ValueError(f"vary.{ranges[0]} is a range; list its values, or set search=optuna")
        if self.search == "optuna" and self.trials is None:
            raise ValueError("trials is missing; search=optuna needs their number")
        if taken := sorted(self.vary.keys() & self.set.keys()):
            raise ValueError(f"{taken[0]} is in both set and vary; remove it from one of them")
        own = sorted((self.vary.keys() | self.set.keys()) & {"out", "task", "overwrite", "resume", "tracking.uri"})
        if own:
            raise ValueError(f"{own[0]} is set by the sweep itself; remove it from set and vary")
        return self
