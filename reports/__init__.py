"""From a run folder to tables, plots and pages: statistics first, drawing last.

Imports `results`, numpy, pandas, scipy, matplotlib, jinja2 and itables; never torch. Names no architecture:
whatever a run's plan.json lists appears in every table and plot.
"""
