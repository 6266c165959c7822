"""The server without HTTP libraries: contract, rules, batcher, metrics, options, topology, the client of a runner.

Models are `polarity.inference`'s and the prediction log is `polarity.record`'s. Never loaded by what trains; no
TensorFlow, Prefect or MLflow.
"""
