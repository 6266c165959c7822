"""Scoring files of tweets of any size with a packaged model."""
