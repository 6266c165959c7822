"""The families of classifiers."""
