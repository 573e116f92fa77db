# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""CT series in HU: what a series is, and how it is found, read and written in each format."""
