"""Benchmarks of the whole loop: the poster's table, users who are not those of the log, and sweeps."""
