"""Decisions between models: the policy that chooses one, and the search for better options.

Figures come from `polarity.evaluation`; what a decision brings about (registration, promotion) is done elsewhere.
"""
