# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""A trained generator at work: on slices, on series, on folders of series."""
