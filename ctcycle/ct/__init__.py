"""CT series in HU: finding, reading and writing them in each format."""
