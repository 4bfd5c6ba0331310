"""The HTTP API, one file per resource."""

__all__: list[str] = []
