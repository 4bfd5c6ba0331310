"""Causal language models: load, download, generate."""
