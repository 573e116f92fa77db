"""The networks and what they are made of, as plain data."""
