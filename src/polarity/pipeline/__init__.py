"""The pipeline: configuration, the graph of steps, fingerprints, the result store and the plan.

The graph is declared once (`polarity.pipeline.graph`) and read by the flows, the plan, the benchmarks and the drawing.
The work itself is done in the packages below; Prefect and MLflow are not imported here.
"""
