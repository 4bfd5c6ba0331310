"""Diagnosis of an edit log before training: statistics, edit quality, coverage, privacy, and which method to train."""

from copydesk.diagnose.diagnose import DiagnoseConfig, Diagnosis, diagnose

__all__ = ["DiagnoseConfig", "Diagnosis", "diagnose"]
