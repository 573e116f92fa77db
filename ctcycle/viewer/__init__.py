"""Pages to scroll through a series before and after denoising: one HTML file each, without any name."""
