"""The gateway: serves policies, collects edits, and lets the late ensemble choose."""
