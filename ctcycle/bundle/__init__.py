"""Export a training run as a MONAI bundle, a folder that runs without ctcycle."""
