"""What a log says before anything is trained on it."""

from copydesk.diagnose.diagnose import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
