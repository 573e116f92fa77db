"""The physics bench: a denoiser on simulated scans of a water disc with inserts, where the truth is known."""
