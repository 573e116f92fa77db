"""Run folders, checkpoints, MLflow tracking, and loading of trained models."""
