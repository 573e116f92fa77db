# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""From a training run to a MONAI bundle: a folder that denoises where ctcycle is not installed."""
