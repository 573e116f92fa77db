"""Write the reference of configs: ``python -m ctcycle.reference.refresh`` in a checkout, or ``make reference``."""

import sys
from pathlib import Path

from ctcycle.atomic import write_json, write_text
from ctcycle.errors import CtcycleError
from ctcycle.reference.page import config_page
from ctcycle.reference.schema import editor_schema

PAGE, SCHEMA = Path("docs", "config.md"), Path("configs", "schema.json")


def refresh(root: Path) -> None:
    """Write the page of all keys and the schema for editors to a checkout; manual changes to them are lost.

    Raises:
        OutputError: a file cannot be written.
    """
    write_text(root / PAGE, config_page())
    write_json(root / SCHEMA, editor_schema())


def main() -> int:
    """Refresh the checkout that this package belongs to, and return the exit code."""
    try:
        refresh(Path(__file__).parents[2])
    except CtcycleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{PAGE} and {SCHEMA} are up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
