"""What is served: the BentoML service and its HTTP contract."""
