"""Maintenance of what the flows store: consistency checks, retention, and reproduction of past runs."""
