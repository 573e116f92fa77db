# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Generators and discriminators, and their specs as plain data."""
