"""Simulated patients, and simulated low dose of real scans by noise insertion."""
