"""What was answered and what was true: predictions, their ids, feedback, and the stores that keep both.

The served image carries this package. What is made of the record (measures, alerts, drift) belongs elsewhere.
"""
