"""Simulated projection noise for training without pairs: draws, calibration and the filter that adapts it."""
