"""Fetching studies from an archive, for retrospective work."""
