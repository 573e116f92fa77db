# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""What runs inside of a bundle; copied into it, with all that it imports."""
