"""The config schema and its loading; neither imports torch or monai."""
