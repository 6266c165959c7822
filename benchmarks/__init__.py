"""Benchmarks. Results are ratios measured within one run on one machine."""
