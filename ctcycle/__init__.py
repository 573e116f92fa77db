"""Low-dose CT denoising without paired training data."""

__version__ = "0.1.0"
