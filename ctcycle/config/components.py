"""``_target_`` components: networks and augmentations that a config names, limited to an allow-list."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

ALLOWED = ("ctcycle.", "monai.networks.", "monai.transforms.", "torch.nn.")
"""Packages that a ``_target_`` may name; a config cannot import anything else unless the user trusts it."""

_trust: ContextVar[bool] = ContextVar("trust", default=False)


@contextmanager
def trusting(*, every_target: bool) -> Iterator[None]:
    """Allow any importable network or transform as a ``_target_`` inside the context, if ``every_target``.

    Only the user who starts the program can allow this, and only for one run: it is never stored in a config or a run
    folder.
    """
    token = _trust.set(every_target)
    try:
        yield
    finally:
        _trust.reset(token)


def trusted() -> bool:
    """Return whether the caller is inside `trusting`."""
    return _trust.get()


def _allowed(target: str) -> str:
    parts = target.split(".")
    if not all(part.isidentifier() and not part.startswith("_") for part in parts):
        raise ValueError(f"'{target}' is not a dotted name")
    if len(parts) > 1 and not target.startswith(ALLOWED) and not trusted():
        packages = ", ".join(f"{package}*" for package in ALLOWED)
        raise ValueError(f"'{target}' is outside the allowed packages ({packages}); pass --trust to run its code")
    return target


class Component(BaseModel):
    """A component given by its dotted name and its keyword arguments.

    Arguments are data: numbers, text, lists. Nothing in them is evaluated.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    target: Annotated[
        str,
        Field(alias="_target_", description="class name, such as RandFlip or a full dotted name"),
        AfterValidator(_allowed),
    ]

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments."""
        return dict(self.model_extra or {})
