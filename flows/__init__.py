"""The Prefect flows and their tasks."""

import gc

# Importing a flow's libraries allocates about a million long-lived objects. At the default threshold the garbage
# collector keeps scanning them, which takes a fifth of a flow's startup time.
gc.set_threshold(10_000)
