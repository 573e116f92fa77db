"""Apply a trained generator to slices, series and folders of series."""
