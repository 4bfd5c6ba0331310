import pytest

from copydesk.data.mapping import FIELD_ALIASES, apply_aliases
from copydesk.data.record import EditRecord


def test_aliases_name_fields_and_are_none_themselves() -> None:
    assert set(FIELD_ALIASES.values()) <= set(EditRecord.model_fields)
    assert not set(FIELD_ALIASES) & set(EditRecord.model_fields)


@pytest.mark.parametrize(("alias", "field"), FIELD_ALIASES.items())
def test_each_alias_becomes_its_field(alias: str, field: str) -> None:
    assert apply_aliases({alias: "v"}) == ({field: "v", "metadata": {}}, {field: alias})


def test_two_names_of_one_field_are_named_both() -> None:
    with pytest.raises(ValueError, match="'prompt' and 'question' both mean 'context'"):
        apply_aliases({"prompt": "a", "question": "b"})
    with pytest.raises(ValueError, match="'edit' and 'chosen' both mean 'edit'"):
        apply_aliases({"edit": "a", "chosen": "b"})


def test_unknown_fields_move_into_metadata() -> None:
    folded, _ = apply_aliases({"response": "r", "rating": 5, "metadata": {"lang": "en"}})
    assert folded == {"response": "r", "metadata": {"lang": "en", "rating": 5}}
    assert apply_aliases({"rating": 5, "metadata": None})[0] == {"metadata": {"rating": 5}}


def test_an_unknown_field_never_overwrites_metadata() -> None:
    with pytest.raises(ValueError, match="'rating' appears both"):
        apply_aliases({"rating": 5, "metadata": {"rating": 4}})
