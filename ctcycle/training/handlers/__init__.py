"""What happens around the update function: one handler a concern, each attachable to any Ignite engine."""
