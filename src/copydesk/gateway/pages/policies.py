"""The policies there are or were, and their colours: the same on every page."""

from sqlalchemy import Connection, select

from copydesk.log.store.tables import arms
from copydesk.report.methods import Look, looks


def policy_looks(connection: Connection) -> dict[str, Look]:
    """Every policy that ever was an arm, in the order they came, with its look."""
    query = select(arms.c.name).where(arms.c.action == "add").order_by(arms.c.seq)
    return looks(connection.execute(query).scalars())
