"""What the parts of a config have in common."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _named(value: Any) -> Any:
    if value == "":
        raise ValueError("'' names no file or folder; '.' is the current folder")
    return value


Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
FilePath = Annotated[Path, BeforeValidator(_named)]
"""A file or folder."""

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, values are never changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Task(Section):
    """What every task has."""

    out: FilePath = Field(description="the folder for the results")
    seed: Seed = 0
    overwrite: bool = Field(False, description="replace what an earlier run left in `out`")
