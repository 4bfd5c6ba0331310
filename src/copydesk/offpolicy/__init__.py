"""What a policy would have cost on traffic that others answered: off-policy evaluation."""
