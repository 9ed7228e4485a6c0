"""The engine: contracts, plans, measuring and running. Names no architecture and no task."""
