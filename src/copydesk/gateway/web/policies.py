"""The policies there are or were, and their colours: the same on every page."""

from sqlalchemy import Connection, select

from copydesk.report.style import MethodStyle, method_styles
from copydesk.store.tables import arms


def read_policy_styles(connection: Connection) -> dict[str, MethodStyle]:
    """Every policy that ever was an arm, in the order they came, with its look."""
    query = select(arms.c.name).where(arms.c.action == "add").order_by(arms.c.seq)
    return method_styles(connection.execute(query).scalars())
