"""Several people with different tastes: one policy for all, an adapter for each, and an ensemble over both."""
