"""Measures over spatial frequency: noise power, task transfer, and the floor of the error."""
