"""The tabular lab: worlds small enough to compute everything exactly, and the bounds beside measurements."""
