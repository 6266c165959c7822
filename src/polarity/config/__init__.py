"""Configuration: the sections, the process settings, and the command line built from them.

A section holds the options that one step of a flow depends on; settings locate folders and services. The configuration
of a whole run (profiles, `TrainConfig`) is in `polarity.pipeline.config`, and each family's section is in its module
under `polarity.families`.
"""
