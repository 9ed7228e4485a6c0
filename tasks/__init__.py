"""Tasks: what encoders are measured on. Importing the package registers the built-in ones."""

from tasks import (  # noqa: F401
    film_reviews,
    formal,
    glue,
    image_file,
    language,
    listops,
    memory,
    mini_glue,
    pictures,
    random_vectors,
    recall,
    sentence_file,
    sick,
    translation,
)
