"""Tasks: what encoders are measured on. Importing the package registers the built-in ones."""

from tasks import (  # noqa: F401
    film_reviews,
    formal,
    glue,
    language,
    listops,
    memory,
    mini_glue,
    random_vectors,
    recall,
    sentence_file,
    sick,
    translation,
)
