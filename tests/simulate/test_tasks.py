from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from copydesk.errors import InputError
from copydesk.simulate.seeds import SeedStream
from copydesk.simulate.tasks import EMAIL, SCRIPTED_TASKS, SUMMARIZATION, get_task
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.scripted import ScriptedTask

every_task = pytest.mark.parametrize("task", SCRIPTED_TASKS.values(), ids=lambda task: task.name)


def coverage(task: ScriptedTask, kind: str) -> float:
    """The share of the reference policy's answers that are wholly in the manners of a kind's taste."""
    shares = {manner.name: manner.shares for manner in task.attributes}
    return float(np.prod([shares[name][value] for name, value in task.tastes[kind].items()]))


@every_task
def test_documents_of_a_seed_are_the_same_and_of_another_are_not(task: ScriptedTask) -> None:
    first, again, other = (
        [d.context for d in islice(task.iter_documents(seed, SeedStream.LOG_DOCUMENTS), 50)] for seed in (1, 1, 2)
    )
    assert first == again
    assert not set(first) & set(other)


@every_task
def test_no_context_of_a_log_recurs_online(task: ScriptedTask) -> None:
    log = frozenset(d.context for d in islice(task.iter_documents(0, SeedStream.LOG_DOCUMENTS), 2000))
    online = [d.context for d in islice(task.iter_documents(0, SeedStream.ONLINE_DOCUMENTS, exclude=log), 2000)]
    assert len(log) == len(set(online)) == 2000
    assert not log & set(online)


def test_contexts_that_are_known_are_passed_over() -> None:
    usual = [d.context for d in islice(EMAIL.iter_documents(0, SeedStream.ONLINE_DOCUMENTS), 3)]
    without = [
        d.context for d in islice(EMAIL.iter_documents(0, SeedStream.ONLINE_DOCUMENTS, exclude=frozenset(usual[:1])), 2)
    ]
    assert without == usual[1:]


@every_task
def test_a_context_says_neither_kind_nor_taste_but_every_fact(task: ScriptedTask) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        document = task.draw_document(rng)
        assert all(f" {value}" in document.context for value in document.facts.values())
        answer = task.write_response(document, task.tastes[document.kind])
        stated = [
            slot for part in task.kind_by_name[document.kind].fact_parts if part.name != "detail" for slot in part.slots
        ]
        # Every fact stands after a space, in context and response alike, so it is the same tokens in both.
        assert all(f" {document.facts[slot]}" in answer for slot in stated)


@every_task
def test_the_facts_of_one_document_cannot_be_confused(task: ScriptedTask) -> None:
    for kind in task.kinds:
        words = [word for values in kind.slots.values() for word in set(values)]
        assert len(words) == len(set(words)), kind.name


@every_task
def test_every_manner_has_a_taste_in_every_kind_and_shares_add_up(task: ScriptedTask) -> None:
    for manner in task.attributes:
        assert sum(manner.shares.values()) == pytest.approx(1)
        assert max(manner.shares, key=manner.shares.__getitem__) == manner.values[0], "the default comes first"
        assert all(task.tastes[kind.name][manner.name] in manner.values for kind in task.kinds)


def test_emails_tastes_are_mostly_near_and_summarizations_mostly_far() -> None:
    near = 1e-3  # one response in a thousand wholly to taste
    assert sum(coverage(EMAIL, kind.name) > near for kind in EMAIL.kinds) >= 3
    assert sum(coverage(SUMMARIZATION, kind.name) < near for kind in SUMMARIZATION.kinds) >= 4


def test_an_unknown_task_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="email, summarization"):
        get_task("poetry")


@every_task
def test_half_of_the_values_of_one_slot_want_the_ends_of_another_kinds_taste(task: ScriptedTask) -> None:
    first, last = task.attributes[0].name, task.attributes[-1].name
    changed: dict[str, list[bool]] = {kind.name: [] for kind in task.kinds}
    for seed in range(600):
        document = task.draw_document(np.random.default_rng(seed))
        taste, usual = task.get_taste(document), task.tastes[document.kind]
        assert task.get_taste(document, facets=False) == usual
        facet = task.facets[document.kind]
        assert usual[first] != task.tastes[facet.other][first] and usual[last] != task.tastes[facet.other][last]
        differ = [name for name in usual if taste[name] != usual[name]]
        assert differ in ([], [first, last])
        assert (differ != []) == facet.applies_to(document, task.kind_by_name[document.kind])
        if differ:
            assert {name: taste[name] for name in differ} == {name: task.tastes[facet.other][name] for name in differ}
        changed[document.kind].append(bool(differ))
    assert all(0.3 < np.mean(own) < 0.7 for own in changed.values())


@every_task
def test_a_quarter_of_the_values_of_every_slot_but_the_facets_occurs_online_only(task: ScriptedTask) -> None:
    def collect(documents: list[Document]) -> dict[tuple[str, str], set[str]]:
        found: dict[tuple[str, str], set[str]] = {}
        for one in documents:
            for slot, value in one.facts.items():
                found.setdefault((one.kind, slot), set()).add(value)
        return found

    logged, met = collect(task.draw_offline(4000, 0)), collect(task.draw_online(4000, 0, frozenset()))
    for (kind, slot), values in met.items():
        total = len(task.kind_by_name[kind].slots[slot])
        unseen = values - logged[kind, slot]
        assert len(unseen) == (0 if slot == task.facets[kind].slot else int(total / 4)), (kind, slot)
    everything = collect(replace(task, unseen_values=0.0).draw_offline(4000, 0))
    assert everything == met
