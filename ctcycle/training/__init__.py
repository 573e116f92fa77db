"""Training with Ignite engines: methods, update functions and handlers."""
