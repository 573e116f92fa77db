"""CT series in HU: what a series is, and how it is found, read and written in each format."""
