"""The config: its schema, and reading it; neither imports torch or monai."""
