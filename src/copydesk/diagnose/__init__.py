"""Diagnosis of an edit log before training: statistics, edit quality, coverage, privacy, and which method to train."""

from copydesk.diagnose.diagnose import DiagnoseConfig, Diagnosis, diagnose_log

__all__ = ["DiagnoseConfig", "Diagnosis", "diagnose_log"]
