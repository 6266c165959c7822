"""The BentoML services and their HTTP contract."""
