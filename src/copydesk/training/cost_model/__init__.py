"""Learning from cost: what an edit costs, and a model that predicts it, with pessimism."""
