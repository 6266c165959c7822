"""What comes of the record: estimates of the accuracy in production, and what is decided from them.

Nothing here reads a database or answers a request: functions take arrays and return values. The rule by which answers
are drawn for labelling is applied while answering, and is therefore in `polarity.record.labelling`.
"""
