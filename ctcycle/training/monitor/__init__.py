"""Watches a training without pairs: what the denoiser removes, against what the two domains differ by."""
