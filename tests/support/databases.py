"""Empty databases on a PostgreSQL server."""

import uuid

import psycopg


def new_database(server: str) -> str:
    """The URL of an empty database on the server with this URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")
