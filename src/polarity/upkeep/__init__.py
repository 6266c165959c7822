"""Maintenance of what the flows store: consistency checks, retention, backup, and reproduction of past runs."""
