"""The model card of a bundle: its training, authors and intended use."""

from pydantic import Field

from ctcycle.config.sections import FilePath, Section


class ModelCard(Section):
    """Facts for the model card that ctcycle cannot derive; the defaults admit what is missing."""

    title: str = Field("Low-dose CT denoiser", description="heading of the card")
    description: str = Field(
        "Denoises low-dose CT slices; the output resembles a routine-dose scan, in HU.",
        description="what the model does, as a sentence",
    )
    authors: str = Field("not named", description="who trained it")
    copyright: str = Field("not stated", description="year and owner")
    training_data: str = Field(
        "Not described by the authors of this bundle. Ask them before you rely on it.",
        description="training data: patients, scanners, dose, kernels, real or simulated",
    )
    data_license: FilePath | None = Field(None, description="text file with the licence of the training data")
    intended_use: str = Field(
        "Research on noise in CT. Not a medical device, and not for diagnosis.", description="and what it is not for"
    )
    routine_dose: str = Field(
        "", description="what warnings and strength=auto did on real scans of known dose, as Markdown"
    )
    memory: str = Field("", description="measured peak memory of the whole command, as a sentence")
    results_note: str = Field("", description="caveats that readers of the results must know")
    references: tuple[str, ...] = Field((), description="publications")
