# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""How generators are run: engines other than torch, and computing ahead of what is written."""
