"""Off-policy evaluation: the edit cost a policy would have had on traffic that other policies answered."""
