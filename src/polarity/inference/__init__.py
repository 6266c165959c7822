"""Inference with a packaged model: manifest, predictor, sessions, device placement, explanations.

This package is independent of HTTP, queues and training; both the server (`polarity.serving`) and the fits
(`polarity.families`) build on it.
"""
