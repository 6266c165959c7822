"""Bentos: building one around a packaged model, the store, a server for a while, and the probe before promotion.

The service that a Bento runs is in the top-level folder `bentos/`. BentoML's internals are touched in one file here.
"""
