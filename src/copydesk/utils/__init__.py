"""Helpers that know nothing of the rest: atomic files, an ordered thread pool, settings, lazy exports."""

__all__: list[str] = []
