"""The history of a git repository: what a machine wrote, and what people made of those lines."""

from copydesk.log.sources.git.marks import MARKS
from copydesk.log.sources.git.rows import User
from copydesk.log.sources.git.source import git_source

__all__ = ["MARKS", "User", "git_source"]
