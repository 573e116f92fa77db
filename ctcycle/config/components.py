"""``_target_`` components: parts that people swap (networks, augmentations), by name and only from an allow-list."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

ALLOWED = ("ctcycle.", "monai.networks.", "monai.transforms.", "torch.nn.")
"""Packages that a ``_target_`` may name; unless a user trusts it, nothing else is imported because a config says so."""

_trust: ContextVar[bool] = ContextVar("trust", default=False)


@contextmanager
def trusting(*, every_target: bool) -> Iterator[None]:
    """Inside, a ``_target_`` may name any importable network or transform, if ``every_target``.

    It is a decision of whoever starts the program, for this one time: no config and no run folder can hold it.
    """
    token = _trust.set(every_target)
    try:
        yield
    finally:
        _trust.reset(token)


def trusted() -> bool:
    """Whether we are inside `trusting`."""
    return _trust.get()


def _allowed(target: str) -> str:
    parts = target.split(".")
    if not all(part.isidentifier() and not part.startswith("_") for part in parts):
        raise ValueError(f"'{target}' is not a dotted name")
    if len(parts) > 1 and not target.startswith(ALLOWED) and not trusted():
        packages = ", ".join(f"{package}*" for package in ALLOWED)
        raise ValueError(f"'{target}' is outside the allowed packages ({packages}); with --trust its code is run")
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
