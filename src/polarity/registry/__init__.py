"""MLflow: tracked runs, registered versions, the alias `champion`, and promotion.

All access to MLflow goes through this package. The decision which model to promote is made in `polarity.selection`.
"""
