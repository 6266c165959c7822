"""The record of predictions and feedback: rows, prediction ids, the log, and the stores.

The served image contains this package. Analysis of the record (measures, alerts, drift) belongs elsewhere.
"""
