# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Low-dose CT denoising without paired training data."""

__version__ = "0.1.0"
