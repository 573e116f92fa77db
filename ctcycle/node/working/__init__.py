"""Working on jobs: sorting, denoising by rule, and surviving what is wrong with one of them."""
