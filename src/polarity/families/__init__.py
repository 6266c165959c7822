"""The families of tweet classifiers: the protocol, what families share, and one module for each family.

A family's module holds all that is particular to it: options, fit, export, scorer, traits, search space, behaviour
limits. The registry finds the built-in families and those of other packages (entry points, `polarity.families`).
Training frameworks are imported inside the functions that train. Choosing between fitted models is not done here.
"""
