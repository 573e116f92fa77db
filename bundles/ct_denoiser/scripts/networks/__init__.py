# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The networks and what they are made of, as plain data."""
