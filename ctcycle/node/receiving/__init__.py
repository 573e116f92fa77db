"""Receiving objects: connections with limits, C-STORE, C-ECHO and storage commitment."""
