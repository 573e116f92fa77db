"""Evaluation of denoisers against full dose: scores, patient-level statistics, tables."""
