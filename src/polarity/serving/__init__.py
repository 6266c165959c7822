"""The server without HTTP libraries: contract, rules, batcher, metrics, options, topology, the client of a runner.

Models belong to `polarity.inference` and the prediction log to `polarity.record`. Training code never imports this
package, which does not import TensorFlow, Prefect or MLflow.
"""
