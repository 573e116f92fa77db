"""What the model card of a bundle says about its training, its authors and its use."""

from pydantic import Field

from ctcycle.config.sections import FilePath, Section


class ModelCard(Section):
    """What the model card of a bundle says that nothing here can know; honest where it was not told."""

    title: str = "Low-dose CT denoiser"
    description: str = "Removes noise from low-dose CT slices; what comes out resembles a routine-dose scan, in HU."
    authors: str = "not named"
    copyright: str = "not stated"
    training_data: str = Field(
        "Not described by those who made this bundle. Ask them before you rely on it.",
        description="what it was trained on: patients, scanners, dose, kernels, and whether scans or simulations",
    )
    data_license: FilePath | None = Field(None, description="text file: the licence of the training data")
    intended_use: str = "Research on noise in CT. Not a medical device, and not for diagnosis."
    results_note: str = Field("", description="what a reader must know of the results")
    references: tuple[str, ...] = ()
