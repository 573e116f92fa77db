"""The model card of a bundle: its training, authors and intended use."""

from pydantic import Field

from ctcycle.config.sections import FilePath, Section


class ModelCard(Section):
    """Facts for the model card that ctcycle cannot derive; the defaults admit what is missing."""

    title: str = "Low-dose CT denoiser"
    description: str = "Denoises low-dose CT slices; the output resembles a routine-dose scan, in HU."
    authors: str = "not named"
    copyright: str = "not stated"
    training_data: str = Field(
        "Not described by the authors of this bundle. Ask them before you rely on it.",
        description="training data: patients, scanners, dose, kernels, real or simulated",
    )
    data_license: FilePath | None = Field(None, description="text file with the licence of the training data")
    intended_use: str = "Research on noise in CT. Not a medical device, and not for diagnosis."
    results_note: str = Field("", description="caveats that readers of the results must know")
    references: tuple[str, ...] = ()
