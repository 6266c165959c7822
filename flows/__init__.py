"""The Prefect flows and their tasks."""

import gc

# The libraries of a flow make some million objects that stay; by default the collector looks through them again and
# again while they are imported, which takes a fifth of a flow's start.
gc.set_threshold(10_000)
