"""From a fitted model to a Bento that answers."""
