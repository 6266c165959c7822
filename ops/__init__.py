"""Local operations: the Prefect server, the UIs, the pages of the runs, and deploying `prefect.yaml`.

The flows are in `flows/`, the served code in `bentos/`; neither imports this package.
"""
