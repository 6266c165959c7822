"""The families of tweet classifiers: the protocol, shared building blocks, and one module for each family.

A family's module contains everything specific to it: options, fit, export, scorer, traits, search space and behaviour
limits. The registry finds the built-in families and those of other packages (entry points, `polarity.families`).
Training frameworks are imported inside the functions that train. Model selection is not done here.
"""
