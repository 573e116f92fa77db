"""What the tasks `evaluate` and `bench` are made of: methods, benches and the report."""
