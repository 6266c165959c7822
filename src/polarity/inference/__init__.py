"""What a packaged model needs to answer: manifest, predictor, sessions, placement on devices, explanations.

Nothing here knows HTTP, a queue or how a model was trained; the server (`polarity.serving`) and the fits
(`polarity.families`) both stand on it.
"""
