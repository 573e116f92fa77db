"""A trained generator at work: on slices, on series, on folders of series."""
