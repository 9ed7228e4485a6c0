"""Kinds of suites: how each goes from its settings to stages of trials. `run_all.py` drives them all alike."""
