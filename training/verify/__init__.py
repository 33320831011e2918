"""A model against its own level of theory, on frames of its own dynamics."""
