import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from copydesk.data import EditCost, EditRecord, read_jsonl, write_jsonl
from copydesk.diagnose import DiagnoseConfig, diagnose_log
from copydesk.errors import InputError

WORDS = EditCost(unit="word")


def letters(rows: int) -> list[EditRecord]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        EditRecord(
            id=str(row),
            context=f"Write to x{row}",
            response=f"Dear x{row} the thing is y{row} for now",
            edit=f"Hi x{row} the thing is y{row} for now" if row % 4 else f"Dear x{row} the thing is y{row} for now",
            user=f"u{row % 3}",
            created_at=start + timedelta(hours=row),
        )
        for row in range(rows)
    ]


def test_a_small_log_from_end_to_end(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "log.jsonl", [*letters(80), EditRecord(id="late", context="x", response="y")])
    found = diagnose_log(tmp_path / "log.jsonl", metric=WORDS)
    assert (found.counts.rows, found.counts.edited, found.counts.accepted, found.counts.pending) == (81, 60, 20, 1)
    assert found.costs.mean == pytest.approx(0.75 / 8)
    assert found.where.shares[0] == 1
    assert found.quality.kept == pytest.approx(7 / 8)
    assert found.quality.near_identical == 1
    assert found.quality.consistency.mean == pytest.approx(0.75)
    (rewrite,) = found.rewrites.commonest
    assert (rewrite.before, rewrite.after, rewrite.count, rewrite.users) == ("Dear", "Hi", 60, 3)
    assert found.drift is not None
    assert found.drift.by == "created_at"
    assert found.coverage is None
    assert found.advice is not None
    assert {caution.kind for caution in found.cautions} >= {"near-identical"}
    assert found == diagnose_log(read_jsonl(tmp_path / "log.jsonl"), metric=WORDS)


def test_the_json_holds_every_figure(tmp_path: Path) -> None:
    found = diagnose_log(letters(80), metric=WORDS)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["counts"]["known"] == 80
    assert document["costs"]["quantiles"]["0.5"] == pytest.approx(1 / 8)
    assert document["quality"]["consistency"]["applications"][0]["rate"] == pytest.approx(0.75)
    assert found.advice is not None
    assert document["advice"]["predicted"] == found.advice.predicted
    assert document["advice"]["reasons"] == list(found.advice.reasons)


def test_a_leak_is_found_and_is_nowhere_in_the_diagnosis() -> None:
    log = [
        *letters(60),
        *(
            EditRecord(
                id=f"m{row}", context="x", response="Ask zed@secret.example now", edit="Ask zed@secret.example or else"
            )
            for row in range(4)
        ),
        *(
            EditRecord(id=f"n{row}", context="x", response="Ask Bo", edit="Ask Bo at bo@secret.example")
            for row in range(4)
        ),
    ]
    found = diagnose_log(log, metric=WORDS)
    assert found.leaks.emails == 8
    written = json.dumps(found.to_json(), ensure_ascii=False)
    assert "secret" not in written
    assert "at b…" in written  # the rewrite is shown, masked


def test_a_log_in_which_nothing_is_edited_or_known() -> None:
    accepted = [record.model_copy(update={"edit": record.response}) for record in letters(12)]
    found = diagnose_log(accepted, metric=WORDS)
    assert (found.advice, found.counts.accepted) == (None, 12)
    pending = [record.model_copy(update={"edit": None}) for record in letters(3)]
    found = diagnose_log(pending, metric=WORDS)
    assert (found.advice, found.costs.mean, found.drift, found.quality.kept) == (None, None, None, None)
    json.dumps(found.to_json(), allow_nan=False)


def test_texts_edited_again_decide_the_quality() -> None:
    log = letters(60)
    seconds = [
        EditRecord(id=f"again-{row.id}", context="x", response=row.edit or "", edit=row.edit, user=row.user)
        for row in log
        if row.edited
    ]
    found = diagnose_log([*log, *seconds], metric=WORDS)
    assert found.quality.edited_again is not None
    assert (found.quality.edited_again.rows, found.quality.edited_again.left) == (45, 0.0)
    assert found.advice is not None
    assert any("second edit" in reason for reason in found.advice.reasons)


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^the log: the log is empty"):
        diagnose_log([])
    (tmp_path / "log.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"log\.jsonl: the log is empty"):
        diagnose_log(tmp_path / "log.jsonl")
    with pytest.raises(InputError, match=r"--sample: 1 must be at least 2"):
        diagnose_log(letters(3), config=DiagnoseConfig(sample=1))
    (tmp_path / "log.jsonl").write_text('{"context": "c"}\n')
    with pytest.raises(InputError, match=r"log\.jsonl:1: "):
        diagnose_log(tmp_path / "log.jsonl", metric=WORDS)


def test_without_a_model_no_torch_is_loaded() -> None:
    code = "import copydesk.diagnose.render, copydesk.diagnose.render, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("name", "edited"), [("lamp", 183), ("expertqa", 471), ("defacto", 1037), ("mlqe_pe", 2096)])
def test_the_real_logs(shared_data: Path, name: str, edited: int) -> None:
    log = list(read_jsonl(shared_data / f"{name}.jsonl"))
    found = diagnose_log(log[:200], metric=WORDS)
    assert found.advice is not None
    assert sum(record.edited for record in log) == edited
    assert found.counts.edited == sum(record.edited for record in log[:200])
    json.dumps(found.to_json(), allow_nan=False)
