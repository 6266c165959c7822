"""Tweets on their way from a source to splits that do not leak."""
