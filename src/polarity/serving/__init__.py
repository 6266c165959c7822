"""What runs in production: no TensorFlow, no Prefect, no MLflow."""
