"""`python -m ops.loop`: the whole loop on one machine, unattended, with real servers and homes of its own.

A champion is served; tweets change; drift is found; a training follows; its candidate is tried on live traffic and
takes over; a bad challenger goes back. All of that is done by the flows, the server and the library. This package only
plays the users, the people who label, and the person who starts a challenger's server.
"""
