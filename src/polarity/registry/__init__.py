"""MLflow: tracked runs, registered versions, the alias `champion`, and its promotion.

All access to MLflow goes through this package. Which model deserves promotion is decided in `polarity.selection`.
"""
