"""Training under Ignite engines: methods, steps, handlers."""
