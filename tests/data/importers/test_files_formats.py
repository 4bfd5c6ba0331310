import pytest

from copydesk.data.importers.files import guess_format, guess_format_from_name


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("log.jsonl", "jsonl"),
        ("log.csv.gz", "csv"),
        ("LOG.TSV.ZST", "tsv"),
        ("a.b.parquet", "parquet"),
        ("log.csv.bak", None),
        ("log", None),
        ("log.gz", None),
    ],
)
def test_the_ending_says_it(name: str, format: str | None) -> None:
    assert guess_format_from_name(name) == format


@pytest.mark.parametrize(
    ("name", "head", "format"),
    [
        ("log.csv", b"[1]", "csv"),
        ("log.jsonl", b"[1]", "jsonl"),
        ("log.json", b' \n[{"a": 1}]', "json"),
        ("log.json", b'{"a": 1}\n', "jsonl"),
        ("log.json", b"", "jsonl"),
        ("log", b"PAR1\x15", "parquet"),
        ("log.txt", b'{"a": 1}', "jsonl"),
        ("log", b"[", "json"),
        ("log", b"a,b\n", None),
    ],
)
def test_else_the_first_bytes(name: str, head: bytes, format: str | None) -> None:
    assert guess_format(name, head) == format
