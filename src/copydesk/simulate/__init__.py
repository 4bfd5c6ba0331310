"""Simulated documents and users, and Protocol 1 played with them."""
