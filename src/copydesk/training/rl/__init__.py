"""Policy optimisation against a cost model."""
