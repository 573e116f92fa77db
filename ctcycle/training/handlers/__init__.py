"""Handlers that act around the update function, one per concern; each can be attached to any Ignite engine."""
