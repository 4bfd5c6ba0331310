"""The history of a git repository: what a machine wrote, and what people made of those lines."""

from copydesk.log.sources.git.marks import MACHINE_COMMIT_PATTERNS
from copydesk.log.sources.git.rows import EditorNaming
from copydesk.log.sources.git.source import build_git_source

__all__ = ["MACHINE_COMMIT_PATTERNS", "EditorNaming", "build_git_source"]
