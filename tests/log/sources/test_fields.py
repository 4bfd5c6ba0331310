from copydesk.log.sources.fields import decoded, moment


def test_moments() -> None:
    assert moment("2026-01-31T12:00:00Z") == moment("2026-01-31 12:00:00") == moment(1_769_860_800)
    assert moment("soon") == moment(None) == 0.0


def test_only_json_objects_and_lists_are_decoded() -> None:
    assert decoded(' {"a": [1]}') == {"a": [1]}
    faulty = ("[not json", '{"a": NaN}', "[1e999]", '["\\ud800"]', '["\ud800"]', '[1], "b": [2]', "[" * 100_000)
    for text in (*faulty, "1", '"text"'):
        assert decoded(text) == text
