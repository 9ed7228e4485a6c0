"""Tasks: what encoders are measured on. Importing the package registers the built-in ones."""

from tasks import formal, language, listops, memory, random_vectors, recall  # noqa: F401
