# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""CT series in HU: finding, reading and writing them in each format."""

import sys

# gdcm looks for a module of Python 2, and would take a folder `dl` beside the user's scans for it
sys.modules.setdefault("dl", None)  # type: ignore[arg-type]
