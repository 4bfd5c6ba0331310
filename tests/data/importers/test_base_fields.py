from copydesk.data.importers.base import decode_json_text, parse_timestamp


def test_moments() -> None:
    assert (
        parse_timestamp("2026-01-31T12:00:00Z")
        == parse_timestamp("2026-01-31 12:00:00")
        == parse_timestamp(1_769_860_800)
    )
    assert parse_timestamp("soon") == parse_timestamp(None) == 0.0


def test_only_json_objects_and_lists_are_decoded() -> None:
    assert decode_json_text(' {"a": [1]}') == {"a": [1]}
    faulty = ("[not json", '{"a": NaN}', "[1e999]", '["\\ud800"]', '["\ud800"]', '[1], "b": [2]', "[" * 100_000)
    for text in (*faulty, "1", '"text"'):
        assert decode_json_text(text) == text
