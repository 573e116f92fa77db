"""``_target_`` components: parts that people swap (networks, augmentations), by name and only from an allow-list."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

ALLOWED = ("ctcycle.", "monai.networks.", "monai.transforms.", "torch.nn.")
"""Packages that a ``_target_`` may name; nothing else is ever imported because a config says so."""


def _allowed(target: str) -> str:
    parts = target.split(".")
    if not all(part.isidentifier() and not part.startswith("_") for part in parts):
        raise ValueError(f"'{target}' is not a dotted name")
    if len(parts) > 1 and not target.startswith(ALLOWED):
        raise ValueError(f"'{target}' is outside the allowed packages ({', '.join(p + '*' for p in ALLOWED)})")
    return target


class Component(BaseModel):
    """One part by its dotted name, with the keyword arguments that it is called with.

    Arguments are data: numbers, words, lists. Nothing in them is evaluated.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    target: Annotated[str, Field(alias="_target_"), AfterValidator(_allowed)]

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments."""
        return dict(self.model_extra or {})
