"""Tasks around MLflow and many trainings: registered models, and sweeps."""
