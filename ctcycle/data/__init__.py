"""Which scans there are, whose and for what; decoded slices; pairs."""
