# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Code that runs inside a bundle; it is copied into the bundle with everything it imports."""
