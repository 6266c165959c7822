"""The page: a Streamlit application for people who do not call APIs.

It talks HTTP to the service alone (POLARITY_URL, POLARITY_API_KEY) and imports nothing of `polarity`, so that it runs
anywhere, with packages of its own (`page/requirements.lock`). `app.py` is what Streamlit runs; each screen is a module
with a function `show`; all that people read is in `texts.yaml`, in English and French.
"""
