"""Generators and discriminators, and their specs as plain data."""
