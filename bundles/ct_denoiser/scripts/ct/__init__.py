# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""CT series in HU: finding, reading and writing them in each format."""
