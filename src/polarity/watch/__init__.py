"""What comes of the record: measures, estimates of the accuracy in production, and the alerts that follow from them.

Statistics are functions of arrays, and know nothing of a database; reading and writing the stored record is left to
`polarity.record`. The rule by which answers are drawn for labelling is applied while answering, and is there, too.
"""
