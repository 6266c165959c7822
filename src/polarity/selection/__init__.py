"""Decisions between models: the selection policy, and the hyper-parameter search.

Figures come from `polarity.evaluation`; the consequences of a decision (registration, promotion) are handled elsewhere.
"""
