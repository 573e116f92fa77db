"""Peers that get objects: by C-STORE or by STOW-RS, each behind the same interface."""
