"""What runs on one machine: the Prefect server, the UIs, the pages of the runs, and deploying `prefect.yaml`.

Flows are in `flows/`, the served code in `bentos/`; nothing imports this package.
"""
