"""From a tweet as it was typed to what a model reads."""
