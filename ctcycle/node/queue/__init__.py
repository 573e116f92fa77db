"""The queue on disk: jobs, deliveries, commitments and pulls."""
