"""Config of tasks that write pages to look at: what folders of CT hold, and series before and after denoising."""

from typing import Annotated, Literal

from pydantic import Field

from ctcycle.config.sections import Count, Device, FilePath, Task
from ctcycle.data.settings import Source


class Inspect(Task):
    """Look at folders of CT before training: series, doses, kernels, noise, pairs, copies; propose configs to train."""

    task: Literal["inspect"]
    sources: Annotated[tuple[Source, ...], Field(min_length=1, description="folders or files to look at")]
    slices: Annotated[int, Field(ge=1, le=1000)] = Field(8, description="slices of each series that are measured")
    most_slices: Count = Field(
        2000,
        description="slices that are read in all, which bounds the time; if there are no more, every slice is read",
    )
    device: Device = Field("auto", description="the proposed training is sized for this device")


class View(Task):
    """Write pages that show series before and after denoising, to scroll through in a browser."""

    task: Literal["view"]
    input: FilePath = Field(description="the series before: a series, a volume, or a folder of them")
    denoised: FilePath = Field(description="the output folder of denoise, or the same series denoised otherwise")
    most_slices: Annotated[int, Field(ge=1, le=2000)] = Field(200, description="slices of a page, evenly spread")
    most_series: Count = Field(10, description="series that get a page")
    most_mb: Annotated[float, Field(ge=1, le=500)] = Field(30.0, description="size of a page in MB")
    assume_hu: bool = Field(False, description="treat NIfTI and npy values as HU even if they do not look like HU")
    slice_axis: Literal[0, 1, 2] | None = Field(None, description="as for denoise")
