"""Config sections of single tasks."""
