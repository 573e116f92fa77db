"""Denoisers against full dose: scores, statistics by patient, tables."""
