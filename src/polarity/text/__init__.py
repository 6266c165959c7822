"""Text processing, from raw tweets to model input."""
