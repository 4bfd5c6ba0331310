"""PRELUDE's sources: each in its real schema, from a folder and from the hub's cache, and what goes wrong."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from copydesk.errors import InputError
from copydesk.simulate.tasks import prelude_sources
from copydesk.simulate.tasks.prelude_sources import PreludeSource

Rows = Sequence[Mapping[str, Any]]

ALL = (
    prelude_sources.CNN_DAILYMAIL,
    prelude_sources.SLF5K,
    prelude_sources.WIKIPEDIA,
    prelude_sources.ARXIV,
    prelude_sources.IMDB,
    prelude_sources.ELSEVIER,
    prelude_sources.AMPERE,
    prelude_sources.PAPER_TWEET,
)
MIDDLE = " ".join(["word"] * 600)
# Rows as the hub has them, the columns that PRELUDE does not read included.
ROWS: Mapping[str, Rows] = {
    "cnn_dailymail": [{"article": "It rained.", "highlights": "Rain.", "id": "42c0"}],
    "slf5k": [
        {
            "id": "t3_1",
            "subreddit": "relationships",
            "title": "Help",
            "post": "My boss took my bike.",
            "ideal_human_summary": "A bike is gone.",
            "comparison_preference": "Summary A",
            "feedback_class": "Coverage",
            "has_additional_feedback": False,
            "time_spent_in_seconds_feedback": 35,
        }
    ],
    "wikipedia": [{"id": "1", "url": "https://simple.wikipedia.org/wiki/April", "title": "April", "text": MIDDLE}],
    "arxiv": [{"Unnamed: 0.1": 0, "Unnamed: 0": 0.0, "title": "Learning", "abstract": "  We learn\n  from edits.\n"}],
    "imdb": [{"text": "I liked it.<br />", "label": 1}],
    "elsevier": [
        {
            "title": "On water",
            "abstract": "We boil it.",
            "subjareas": ["ENVI"],
            "keywords": ["water"],
            "asjc": ["2300"],
            "body_text": ["It is wet."],
            "author_highlights": ["It boils", "It is hot"],
        }
    ],
    "ampere": [
        {"doc_id": "H1", "text": ["The paper is clear.", "Add a baseline."], "labels": ["evaluation", "request"]}
    ],
    "paper_tweet": [{"text": 'tweet: "New paper out! <LINK>\\n",'}],
}
TEXTS = {
    "cnn_dailymail": "It rained.",
    "slf5k": "My boss took my bike.",
    "wikipedia": MIDDLE,
    "arxiv": "  We learn\n  from edits.\n",
    "imdb": "I liked it.<br />",
    "elsevier": " My title: On water. My abstract: We boil it. My highlights: It boils. It is hot",
    "ampere": "The paper is clear. Add a baseline.",
    "paper_tweet": "New paper out! <LINK>",
}


@pytest.fixture(autouse=True)
def caches_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left from before, in the machine's caches or in the process, and the hub is out of reach."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    prelude_sources.load_texts.cache_clear()


def write(file: Path, rows: Rows) -> None:
    """Rows in the format that the suffix names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), file)
    elif file.suffix == ".csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist([dict(row) for row in rows]), file)
    elif file.suffix == ".txt":
        file.write_text("".join(f"{row['text']}\n" for row in rows))
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        file.write_text(json.dumps(list(rows)))


def put_on_hub(cache: Path, source: PreludeSource, files: Mapping[str, Rows]) -> None:
    """A data set in the layout of the hub's cache, as a download leaves it."""
    repository = cache / f"datasets--{source.hub_id.replace('/', '--')}"
    branch = repository / "refs" / source.revision
    branch.parent.mkdir(parents=True)
    branch.write_text("0" * 40)
    for name, rows in files.items():
        write(repository / "snapshots" / ("0" * 40) / name, rows)


def on_hub(source: PreludeSource) -> dict[str, Rows]:
    """The files that a source names, each with the same rows; the pattern of Elsevier's stands for one."""
    return {name.replace("*/", "all/").replace("*.", "0000."): ROWS[source.name] for name in source.files}


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_folder_of_files(source: PreludeSource, suffix: str, tmp_path: Path) -> None:
    write(tmp_path / source.name / f"part{suffix}", ROWS[source.name])
    assert list(prelude_sources.load_texts(source, tmp_path)) == [TEXTS[source.name]]


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
def test_one_saved_to_disk(source: PreludeSource, tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([dict(row) for row in ROWS[source.name]])
    rows.save_to_disk(tmp_path / source.name)
    assert list(prelude_sources.load_texts(source, tmp_path)) == [TEXTS[source.name]]


def test_several_splits_saved_to_disk(tmp_path: Path) -> None:
    splits = {name: datasets.Dataset.from_list([{"text": f"of {name}"}]) for name in ("test", "train")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "imdb")
    assert list(prelude_sources.load_texts(prelude_sources.IMDB, tmp_path)) == ["of train"]


@pytest.mark.parametrize("name", ["arxiv.csv", "arxiv.json", "arxiv/ML-Arxiv-Papers.csv"])
def test_csv_and_json(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, ROWS["arxiv"])
    assert list(prelude_sources.load_texts(prelude_sources.ARXIV, tmp_path)) == [TEXTS["arxiv"]]


def test_the_tweets_as_their_repository_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "paper_tweet"
    write(folder / "train.txt", ROWS["paper_tweet"])
    write(folder / "test.txt", [{"text": 'tweet: "of another split\\n",'}])
    write(folder / "paper_tweet_data.csv", [{"Tweets": "all of them"}])
    (folder / "README.md").write_text("about it")
    assert list(prelude_sources.load_texts(prelude_sources.PAPER_TWEET, tmp_path)) == [TEXTS["paper_tweet"]]


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for part in (2, 0, 1):
        write(tmp_path / "imdb" / f"train-0000{part}.parquet", [{"text": f"{part}a"}, {"text": f"{part}b"}])
    assert prelude_sources.load_texts(prelude_sources.IMDB, tmp_path)[:] == ["0a", "0b", "1a", "1b", "2a", "2b"]


def test_a_folder_with_a_pattern_in_its_name(tmp_path: Path) -> None:
    write(tmp_path / "run[1]*" / "imdb.jsonl", [{"text": "a"}])
    assert list(prelude_sources.load_texts(prelude_sources.IMDB, tmp_path / "run[1]*")) == ["a"]


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
def test_the_hubs_own_files_in_its_cache(source: PreludeSource, tmp_path: Path) -> None:
    put_on_hub(tmp_path / "hub", source, on_hub(source))
    assert list(prelude_sources.load_texts(source, None)) == [TEXTS[source.name]] * len(source.files)


def test_what_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the hub in reach, the source's files are fetched and nothing besides."""
    asked = []

    def fetch(hub_id: str, **options: Any) -> str:
        asked.append((hub_id, options))
        write(tmp_path / "snapshot" / "all" / "train" / "0000.parquet", ROWS["elsevier"])
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert list(prelude_sources.load_texts(prelude_sources.ELSEVIER, None)) == [TEXTS["elsevier"]]
    [(hub_id, options)] = asked
    assert hub_id == "orieg/elsevier-oa-cc-by"
    assert options == {
        "repo_type": "dataset",
        "revision": "refs/convert/parquet",
        "allow_patterns": ["*/train/*.parquet"],
        "local_files_only": False,
    }


def test_a_source_that_the_folder_lacks_comes_from_the_hub(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    put_on_hub(tmp_path / "hub", prelude_sources.IMDB, on_hub(prelude_sources.IMDB))
    assert list(prelude_sources.load_texts(prelude_sources.IMDB, tmp_path / "mine")) == [TEXTS["imdb"]]


def test_only_articles_of_middle_length_are_taken(tmp_path: Path) -> None:
    lengths = [500, 501, 699, 700]
    write(tmp_path / "wikipedia.jsonl", [{"text": " \n".join(["word"] * length)} for length in lengths])
    assert [len(text.split()) for text in prelude_sources.load_texts(prelude_sources.WIKIPEDIA, tmp_path)] == [501, 699]


def test_only_papers_with_highlights_are_taken(tmp_path: Path) -> None:
    highlights = [[], ["One"], None, ["Two", "Three"]]
    rows = [{"title": "T", "abstract": "A", "author_highlights": points} for points in highlights]
    write(tmp_path / "elsevier.parquet", rows)
    texts = prelude_sources.load_texts(prelude_sources.ELSEVIER, tmp_path)
    assert [text.rpartition("highlights: ")[2] for text in texts] == ["One", "Two. Three"]


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ('a "b" c "d.."', ['b" c "d']),
        ('"whole\\n"', ["whole"]),
        ("no quotes", []),
        ('"with [a bracket]  "', []),
        ('"brackets outside  " ]', ["brackets outside"]),
        ('one " quote', [""]),
        # A quote in the second place or before lets the end count from the back: PRELUDE's slice does the same.
        ('"only at the beginning', ["only at the beginni"]),
    ],
)
def test_what_is_taken_of_a_line_with_a_tweet(line: str, texts: list[str], tmp_path: Path) -> None:
    write(tmp_path / "paper_tweet.txt", [{"text": '"first  "'}, {"text": line}])
    assert list(prelude_sources.load_texts(prelude_sources.PAPER_TWEET, tmp_path)) == ["first", *texts]


def test_a_row_without_a_text_keeps_its_place(tmp_path: Path) -> None:
    write(tmp_path / "arxiv.jsonl", [{"abstract": "a"}, {"abstract": None}, {"abstract": "c"}])
    texts = prelude_sources.load_texts(prelude_sources.ARXIV, tmp_path)
    assert (list(texts), texts[1:]) == (["a", "", "c"], ["", "c"])


def test_a_source_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "imdb.jsonl", ROWS["imdb"])
    assert prelude_sources.load_texts(prelude_sources.IMDB, tmp_path) is prelude_sources.load_texts(
        prelude_sources.IMDB, tmp_path
    )


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("imdb.jsonl", '{"review": "good"}\n', r"imdb\.jsonl: has no column 'text'; imdb needs text"),
        ("imdb.jsonl", '{"text": 3}\n', r"imdb\.jsonl: column 'text' holds int64, not texts"),
        ("ampere.jsonl", '{"text": "whole"}\n', r"ampere\.jsonl: column 'text' holds string, not lists of texts"),
        ("imdb.jsonl", '{"text": "a"}\n{"text": \n', r"imdb\.jsonl: cannot be read \(JSON parse error.*is whole"),
        ("imdb.jsonl", "", r"imdb\.jsonl: cannot be read \(.*is whole"),
        ("imdb.parquet", "PAR1", r"imdb\.parquet: cannot be read \(Parquet.*is whole"),
        ("imdb.csv", "text\na\nb,c\n", r"imdb\.csv: cannot be read \(Error tokenizing data.*is whole"),
        ("wikipedia.jsonl", '{"text": "short"}\n', r"wikipedia\.jsonl: none of its 1 rows .* articles of 501 to 699"),
        ("paper_tweet.txt", "no tweet\n", r"paper_tweet\.txt: none of its 1 rows .* double quotes"),
        ("imdb/read.me", "", r"imdb: has no file of data; put \.parquet"),
        ("imdb/state.json", "{}", r"imdb: cannot be read \(.*save its split train again"),
    ],
)
def test_a_bad_file_is_one_line(
    name: str,
    content: str,
    complaint: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("datasets"), "handlers", [caplog.handler])
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    [source] = [source for source in ALL if name.startswith(source.name)]
    with pytest.raises(InputError, match=complaint) as error:
        prelude_sources.load_texts(source, tmp_path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_parquet_file_that_lacks_a_column(tmp_path: Path) -> None:
    write(tmp_path / "elsevier" / "a.parquet", ROWS["elsevier"])
    write(tmp_path / "elsevier" / "b.parquet", [{"title": "T", "abstract": "A"}])
    with pytest.raises(InputError, match=r"b\.parquet: has no column 'author_highlights'; elsevier needs title, abs"):
        prelude_sources.load_texts(prelude_sources.ELSEVIER, tmp_path)


def test_files_of_several_formats(tmp_path: Path) -> None:
    write(tmp_path / "imdb" / "a.parquet", ROWS["imdb"])
    write(tmp_path / "imdb" / "b.jsonl", ROWS["imdb"])
    with pytest.raises(InputError, match=r"several formats \(\.jsonl, \.parquet\); leave those of one"):
        prelude_sources.load_texts(prelude_sources.IMDB, tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: there is no such folder.*check COPYDESK_PRELUDE"):
        prelude_sources.load_texts(prelude_sources.IMDB, tmp_path / "nowhere")


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
def test_no_hub_is_one_line_that_says_what_to_get_and_where_to_put_it(
    source: PreludeSource, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as error:
        prelude_sources.load_texts(source, tmp_path)
    complaint = str(error.value)
    assert "\n" not in complaint
    for word in (*source.files, *source.columns, "split train", source.hub_id, str(tmp_path / source.name)):
        assert word in complaint
    assert capfd.readouterr() == ("", "")


def test_no_hub_and_no_folder_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's real client against a port where nobody listens: told at once, with no second try."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    nobody = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub, "dataset_info", nobody.dataset_info)
    with pytest.raises(InputError, match=r"configuration 20220301\.simple.*/wikipedia/, with COPYDESK_PRELUDE=FOLDER"):
        prelude_sources.load_texts(prelude_sources.WIKIPEDIA, None)


def test_a_part_that_was_never_fetched_is_missed(tmp_path: Path) -> None:
    """A download that was interrupted leaves some of the files: too few rows would be another shuffle."""
    files = on_hub(prelude_sources.CNN_DAILYMAIL)
    files.popitem()
    put_on_hub(tmp_path / "hub", prelude_sources.CNN_DAILYMAIL, files)
    with pytest.raises(InputError, match=r"the hub cannot be reached or has no such files"):
        prelude_sources.load_texts(prelude_sources.CNN_DAILYMAIL, None)
