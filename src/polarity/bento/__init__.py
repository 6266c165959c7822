"""Bentos: the build around a packaged model, the store, a temporary server, and the probe before promotion.

The services that a Bento runs are in the top-level folder `bentos/`. Only `bentoml_store` uses BentoML's internals.
"""
