"""The report of an evaluation: one HTML file, its figures as PNG, its measures as CSV."""
