"""Base classes and value types shared by all config sections."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from ctcycle.data.settings import path_problem


def _named(value: Any) -> Any:
    if value == "":
        raise ValueError("the path is empty; '.' is the current folder")
    if isinstance(value, str | Path) and (problem := path_problem(Path(value))):
        raise ValueError(problem)
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31, description="seed of everything random")]
FilePath = Annotated[Path, BeforeValidator(_named)]
"""The path of a file or folder; not empty."""

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:1 or mps")]


def _strength_kind(value: object) -> str:
    return "auto" if value == "auto" else "number"


Strength = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[float, Field(ge=0, le=2), Tag("number")],
    Discriminator(_strength_kind),
]
"""Factor of the correction, or auto; the discriminator keeps error messages to the member that is meant."""


class Section(BaseModel):
    """A config section: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Task(Section):
    """Keys shared by all tasks."""

    out: FilePath = Field(description="output folder")
    seed: Seed = 0
    overwrite: bool = Field(False, description="replace the results of an earlier run in `out`")
