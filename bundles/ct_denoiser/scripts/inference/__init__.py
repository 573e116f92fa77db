# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Apply a trained generator to slices, series and folders of series."""
