"""API keys at rest."""

import pytest
from sqlalchemy import select

from copydesk.errors import InputError
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key, find_key, has_active_key, list_keys, revoke_key
from copydesk.store.tables import keys


@pytest.fixture
def store(store_url: str):
    opened = EditStore.open(store_url)
    yield opened
    opened.close()


def test_a_key_opens_until_it_is_revoked_and_is_stored_as_a_hash(store: EditStore) -> None:
    with store.begin_write() as tx:
        connection = tx.connection
        assert not has_active_key(connection)
        key, text = create_key(connection, "app", tenant="acme", scopes=["edit", "complete"])
        other, other_text = create_key(connection, "second")
        assert has_active_key(connection)
        assert find_key(connection, text) == key
        assert (key.tenant, key.scopes) == ("acme", ("complete", "edit"))
        assert other.scopes == ("read", "complete", "edit", "admin", "metrics")
        secret = text.rpartition("-")[2]
        assert all(secret not in str(value) for row in connection.execute(select(keys)) for value in row)
        for wrong in (text[:-1] + ("A" if text[-1] != "A" else "B"), text.replace(key.id, other.id), "", "ck-", "x"):
            assert find_key(connection, wrong) is None
        revoked = revoke_key(connection, key.id)
        assert revoked.revoked_at is not None
        assert find_key(connection, text) is None
        assert [one.id for one in list_keys(connection)] == [key.id, other.id]
        with pytest.raises(InputError, match="no active key"):
            revoke_key(connection, key.id)
        revoke_key(connection, other_text)  # by the key itself
        assert not has_active_key(connection)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "x" * 65},
        {"name": "a", "tenant": "a/b"},
        {"name": "a", "scopes": ["root"]},
        {"name": "a", "scopes": []},
    ],
)
def test_a_key_that_cannot_be(store: EditStore, wrong) -> None:
    with pytest.raises(InputError), store.begin_write() as tx:
        create_key(tx.connection, **wrong)
