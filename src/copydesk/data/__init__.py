"""The log: what was asked, answered and edited, how it is kept in files, and what an edit costs."""

from copydesk.data.cost import EditCost
from copydesk.data.jsonl import load_log, read_jsonl, write_jsonl
from copydesk.data.record import EditRecord, Message

__all__ = ["EditCost", "EditRecord", "Message", "load_log", "read_jsonl", "write_jsonl"]
