"""Learning policies from a log of edits. This package loads torch only when one of its modules is imported."""
