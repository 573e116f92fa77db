"""Measures of what happens to lesions: contrast kept, detectability, false structures."""
