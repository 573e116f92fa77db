# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The code of ctcycle that this bundle runs."""

__version__ = "0.1.0"
