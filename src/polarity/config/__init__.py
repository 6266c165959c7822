"""Options: the sections of a configuration, the settings of a process, and the command line made of them.

A section holds what one step of a flow depends on; settings say where things live on this machine. What a whole run
is configured with (profiles, `TrainConfig`) is in `polarity.pipeline.config`, and a family's own section in its file
under `polarity.families`. Nothing here imports another package of the project.
"""
