"""The one training loop, and what stands around it: recipe, schedule, evaluation, checkpoints, the choice of settings."""
