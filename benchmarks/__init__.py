"""Benchmarks of ctcycle against plain references, peers and the floor that the hardware sets; see README.md."""
