"""How a run is put together: its configuration, the graph of steps, fingerprints, the store of results, the plan.

The graph (`polarity.pipeline.graph`) is declared once; running, planning, timing and drawing read it. The work
itself is done in the packages below; Prefect and MLflow are not imported here.
"""
