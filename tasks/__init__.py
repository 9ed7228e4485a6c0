"""Tasks: what encoders are measured on. Importing the package registers the built-in ones."""

from tasks import random_vectors  # noqa: F401
