"""The log: what was asked, answered and edited, how it is kept in files, and what an edit costs."""

from copydesk.log.cost import EditCost
from copydesk.log.jsonl import load_log, read_jsonl, write_jsonl
from copydesk.log.record import EditRecord, Message

__all__ = ["EditCost", "EditRecord", "Message", "load_log", "read_jsonl", "write_jsonl"]
