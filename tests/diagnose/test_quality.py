import pytest

from copydesk.diagnose.edits import align_edit
from copydesk.diagnose.quality import EditQualityAccumulator


def test_words_kept_and_near_identical_edits() -> None:
    keeping = EditQualityAccumulator()
    keeping.add(align_edit("a b c d", "a b X Y"), 0.5)  # two words changed
    keeping.add(align_edit("a b c d", "e f g d"), 0.75)
    keeping.add(align_edit("a b c d", "e f g h"), 0.04)  # cheap, whatever its words
    assert keeping.kept_share == pytest.approx((0.5 + 0.25 + 0) / 3)
    assert keeping.near_identical_share == pytest.approx(2 / 3)


def test_a_log_without_edits() -> None:
    assert EditQualityAccumulator().kept_share is None
    assert EditQualityAccumulator().near_identical_share == 0
