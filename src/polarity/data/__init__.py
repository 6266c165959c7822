"""Data ingestion, validation and splitting without leakage."""
