"""What ctcycle knows of MLflow's store: events of runs, data sets, registered models and their URIs."""
