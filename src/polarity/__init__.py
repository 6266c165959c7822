"""Train, compare, serve and watch classifiers of the sentiment of tweets."""

__version__ = "0.1.0"
