"""From a training run to a MONAI bundle: a folder that denoises where ctcycle is not installed."""
