"""A document of sections, as data: texts, tables, facts, figures and picture grids, without any layout."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Sign = Literal["good", "neutral", "bad", ""]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        detail: smaller text below, for example an interval.
        sign: coloured and shown as a sign with a spoken name, or empty.
    """

    text: str
    detail: str = ""
    sign: Sign = ""


@dataclass(frozen=True)
class Text:
    """Paragraphs, or the items of a list."""

    lines: Sequence[str]
    listed: bool = False
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Card:
    """A short verdict: title, a label, sentences, and signs by subject."""

    title: str
    label: str
    lines: Sequence[str]
    signs: Sequence[tuple[str, Sign]] = ()
    kind: Literal["card"] = "card"


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes:
        caption: what it shows.
        header: titles of all columns.
        rows: cells, as many as there are titles; the first is the row's name.
        folded: whether a reader unfolds it.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and a value."""

    pairs: Sequence[tuple[str, str]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Plot:
    """A figure as PNG.

    Attributes:
        png: the file's bytes.
        name: file name without ending.
        caption: text below it.
        alt: what it shows, for readers who do not see it.
    """

    png: bytes
    name: str
    caption: str
    alt: str
    kind: Literal["plot"] = "plot"

    def uri(self) -> str:
        """Return the image as a data URI."""
        return data_uri(self.png)


@dataclass(frozen=True)
class Grid:
    """Small pictures side by side.

    Attributes:
        title: heading.
        caption: text below the title.
        pictures: (title, PNG bytes) in order.
        name: file name without ending.
        magnified: whether pixels are shown enlarged, as squares.
        small: whether it is laid out beside the next small one where there is room.
    """

    title: str
    caption: str
    pictures: Sequence[tuple[str, bytes]]
    name: str
    magnified: bool = False
    small: bool = False
    kind: Literal["grid"] = "grid"

    def shown(self) -> list[tuple[str, str]]:
        """Return each picture's title and data URI."""
        return [(title, data_uri(png)) for title, png in self.pictures]


Block = Text | Card | Table | Facts | Plot | Grid


@dataclass(frozen=True)
class Part:
    """A section of the document."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The section's ``id``, made of the letters and digits of its title."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True)
class Document:
    """A document; parts without blocks are left out."""

    title: str
    subtitle: str = ""
    parts: Sequence[Part] = field(default=())

    def filled(self) -> list[Part]:
        """Return the parts that have blocks."""
        return [part for part in self.parts if part.blocks]


def data_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return f"data:image/png;base64,{b64encode(png).decode()}"
