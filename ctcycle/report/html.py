"""A document as one HTML file: styles and images inline, no script, nothing loaded from elsewhere."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from ctcycle.report.document import Document


def render(document: Document) -> str:
    """Return the document as HTML; all of its texts are escaped."""
    return _environment().get_template("document.html.j2").render(document=document)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ctcycle.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
