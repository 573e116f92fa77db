"""Manifests, splits, pairs and decoded slices."""
