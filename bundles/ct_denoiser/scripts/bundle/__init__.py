# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The parts of ctcycle that only bundles run."""
