"""Diagnosis of an edit log before training: statistics, edit quality, coverage, privacy, and which method to train."""

from copydesk.diagnose.diagnose import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
