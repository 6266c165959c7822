"""Model evaluation: metrics with intervals, comparisons, behaviour tests and the report."""
