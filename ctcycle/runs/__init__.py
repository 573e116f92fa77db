"""What a run leaves on disk and in MLflow, and how it is found again."""
