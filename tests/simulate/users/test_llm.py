"""The whole of PRELUDE's protocol, with a real server that speaks OpenAI's API and with a model in this process."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from tests.support.gateways import running

from copydesk.data.record import Context
from copydesk.errors import InputError
from copydesk.policies import CachedPolicy, OpenAIPolicy, Sampling, open_policy
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.users.attention import Attention, get_attention
from copydesk.simulate.users.llm import LlmUser

Json = dict[str, Any]
PREFERENCES = {
    "letter": ("informal", "no closing", "brief", "kind"),
    "review": ("in questions and answers",),
}
TASTES = {kind: ", ".join(preferences) for kind, preferences in PREFERENCES.items()}


class Letters:
    """A task that lists preferences and draws no documents."""

    name = "letters"

    def list_preferences(self, document: Document) -> tuple[str, ...]:
        return PREFERENCES[document.kind]

    def draw_offline(self, count: int, seed: int) -> list[Document]:
        raise NotImplementedError

    def draw_online(self, count: int, seed: int, exclude: frozenset[str]) -> list[Document]:
        raise NotImplementedError


LETTER = Document("Write to Ann: {the meeting} is on Monday.", "letter")
RESPONSE = "Dear Ann, the meeting is on Monday. Kind regards"
REVISION = "Hi Ann! We meet on Monday."


def is_question(prompt: str) -> bool:
    return prompt.endswith("nothing else.")


class Script:
    """Answers questions from one list and requests for a revision from another; the last of each is repeated."""

    def __init__(self, verdicts: Sequence[str], revisions: Sequence[Any] = ()) -> None:
        self.replies = {True: list(verdicts), False: list(revisions)}
        self.asked: list[Json] = []

    def __call__(self, request: Json) -> Any:
        self.asked.append(request)
        replies = self.replies[is_question(request["messages"][0]["content"])]
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextmanager
def user_of(script: Callable[[Json], Any], **settings: Any) -> Iterator[LlmUser]:
    """A user played by a server; a script's reply is text, text and why it ended, or a whole message."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Json) -> JSONResponse:
        answer = script(request)
        text, reason = answer if isinstance(answer, tuple) else (answer, "stop")
        message = {"role": "assistant", **(text if isinstance(text, dict) else {"content": text})}
        return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": reason}]})

    with running(app) as url:
        policy = OpenAIPolicy("qwen", "qwen3", f"{url}/v1", concurrency=1)
        yield LlmUser("ann", policy, **{"max_new_tokens": 50, **settings})


def edit_one(script: Script, response: str = RESPONSE, **settings: Any) -> tuple[str, dict[str, int]]:
    """What becomes of one response, and the counts that are not 0."""
    with user_of(script, **settings) as user:
        edited = user.edit(Letters(), [LETTER], [response], [(4, 2)])
        return edited[0], {name: count for name, count in user.stats.to_json().items() if count}


def preferences_in(request: Json) -> tuple[str, ...]:
    """The preferences that a prompt names."""
    found = re.search(r"(?:this is that style|a style of your own): (.*)\.\n", request["messages"][0]["content"])
    assert found is not None
    return tuple(found[1].split(", "))


def test_a_text_to_taste_is_left_as_it_is() -> None:
    script = Script(["Yes."])
    assert edit_one(script, RESPONSE + "  \n") == (RESPONSE + "  \n", {"yes": 1})
    assert len(script.asked) == 1


def test_another_text_is_revised() -> None:
    script = Script(["no"], [REVISION])
    assert edit_one(script) == (REVISION, {"no": 1})
    question, revision = script.asked
    for request in (question, revision):
        prompt = request["messages"][0]["content"]
        assert all(part in prompt for part in (LETTER.context, RESPONSE, TASTES["letter"]))
        assert (request["temperature"], request["max_tokens"]) == (0, 50)
    assert question["seed"] != revision["seed"]


def test_all_questions_go_out_before_all_revisions_and_each_text_keeps_its_own() -> None:
    documents = [Document(f"Letter {i}.", "letter" if i % 2 else "review") for i in range(5)]
    responses = [f"Response {i}" for i in range(5)]
    asked: list[str] = []

    def script(request: Json) -> str:
        prompt = request["messages"][0]["content"]
        number = prompt.split("Response ")[1][0]
        assert TASTES["letter" if int(number) % 2 else "review"] in prompt
        asked.append(number)
        if is_question(prompt):
            return "yes" if number in "13" else "no"
        return f"Revision {number}"

    with user_of(script) as user:
        edits = user.edit(Letters(), documents, responses, [(i,) for i in range(5)])
        assert edits == ["Revision 0", "Response 1", "Revision 2", "Response 3", "Revision 4"]
        assert asked == list("01234024")
        user.edit(Letters(), documents[:1], responses[:1], [(0,)])
        assert (user.stats.yes, user.stats.no) == (2, 4)  # over all calls
        assert user.edit(Letters(), [], [], []) == []


ATTENTIONS = [(name, get_attention(name)) for name in ("weak", "weak-3", "weak-0.35", "strong", "transfer", "ann")]


@pytest.mark.parametrize(("name", "attention"), ATTENTIONS, ids=[name for name, _ in ATTENTIONS])
def test_both_prompts_name_the_preferences_that_the_user_attends_to(name: str, attention: Attention) -> None:
    script = Script(["no"], [REVISION])
    seeds = [(7, number) for number in range(60)]
    with user_of(script, attention=attention) as user:
        user.edit(Letters(), [LETTER] * 60, [RESPONSE] * 60, seeds)
        asked = user.stats.no
        questions, revisions = script.asked[:asked], script.asked[asked:]
        named = [preferences_in(one) for one in questions]
        assert named == [preferences_in(one) for one in revisions]
        every = PREFERENCES["letter"]
        assert all(one == tuple(item for item in every if item in one) for one in named)  # in their order
        sizes = {"weak": {2}, "weak-3": {3}, "weak-0.35": {1, 2, 3}}.get(name, {4})
        assert {len(one) for one in named} >= sizes if name == "weak-0.35" else {len(one) for one in named} == sizes
        counts = Counter(preference for one in named for preference in one)
        share = {"weak": 0.5, "weak-3": 0.75, "weak-0.35": 0.35}.get(name, 1.0)
        assert counts.keys() == set(every) and all(abs(count / 60 - share) < 0.2 for count in counts.values())
        assert user.stats.unasked == 60 - asked and (user.stats.unasked > 0) == (name == "weak-0.35")


def test_the_sample_depends_on_the_interaction_alone() -> None:
    def named_to(response: str, seeds: Sequence[Sequence[int]], verdict: str) -> list[tuple[str, ...]]:
        script = Script([verdict], [REVISION])
        with user_of(script, attention=Attention(count=2)) as user:
            user.edit(Letters(), [LETTER] * len(seeds), [response] * len(seeds), seeds)
        return [preferences_in(one) for one in script.asked if is_question(one["messages"][0]["content"])]

    seeds = [(3, number) for number in range(12)]
    named = named_to(RESPONSE, seeds, "no")
    assert named == named_to("Another text", seeds, "yes")
    assert named[4:] == named_to(RESPONSE, seeds[4:], "yes")
    assert len(set(named)) > 2


def test_a_user_with_fewer_preferences_than_it_attends_to_has_them_all() -> None:
    script = Script(["yes"])
    with user_of(script, attention=Attention(count=2)) as user:
        user.edit(Letters(), [Document("A film.", "review")], [RESPONSE], [(0,)])
    assert preferences_in(script.asked[0]) == PREFERENCES["review"]


def test_a_text_is_accepted_without_a_request_if_no_preference_is_sampled() -> None:
    script = Script(["no"], [REVISION])
    assert edit_one(script, attention=Attention(probability=1e-9)) == (RESPONSE, {"unasked": 1})
    assert script.asked == []


def test_neither_yes_nor_no_is_asked_again_with_another_seed_and_then_is_no() -> None:
    script = Script(["Well...", "Hm.", "yes"])
    assert edit_one(script) == (RESPONSE, {"yes": 1, "neither": 2})
    assert len({request["seed"] for request in script.asked}) == 3
    assert [request["temperature"] for request in script.asked] == [0, 0.7, 0.7]  # at 0 it would say the same again
    assert edit_one(Script(["Well..."], [REVISION])) == (REVISION, {"no": 1, "neither": 3})
    assert edit_one(Script(["Well..."], [REVISION]), tries=1) == (REVISION, {"no": 1, "neither": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("useless", "counted"),
    [
        ("I'm sorry, I can't help with that.", "refused"),
        ("  \n", "empty"),
        ("<think>I know it</think>\n", "empty"),
        (("Hi Ann! We meet on Mon", "length"), "runaway"),
        (("<think>They want it", "length"), "runaway"),
        ("Hi Ann! " * 501, "runaway"),
    ],
)
def test_a_useless_revision_is_asked_for_again_and_then_given_up(useless: Any, counted: str) -> None:
    script = Script(["no"], [useless, useless, REVISION])
    assert edit_one(script) == (REVISION, {"no": 1, counted: 2})
    assert len({request["seed"] for request in script.asked}) == 4
    assert edit_one(Script(["no"], [useless])) == (RESPONSE, {"no": 1, counted: 3, "gave_up": 1})


def test_how_long_is_too_long_depends_on_the_text() -> None:
    assert edit_one(Script(["no"], ["Hi Ann! " * 499]))[1] == {"no": 1}
    assert edit_one(Script(["no"], ["Hi Ann! " * 501]), "Dear Ann, " * 200)[1] == {"no": 1}


def test_a_refusal_that_was_there_before_is_text() -> None:
    refusal = "I'm sorry, I can't help with that."
    assert edit_one(Script(["no"], [refusal + " Bye!"]), refusal) == (refusal + " Bye!", {"no": 1})


def test_a_revision_that_changes_nothing() -> None:
    assert edit_one(Script(["no"], [RESPONSE + "\n"]), RESPONSE + " ") == (RESPONSE + " ", {"no": 1, "unchanged": 1})


def test_remarks_and_thinking_around_a_reply_are_taken_off() -> None:
    script = Script(
        ["<think>\nyes?\n</think>\n\n**No**"], [f"Sure! Here is the revised email:\n\n```\n{REVISION}\n```"]
    )
    assert edit_one(script) == (REVISION, {"no": 1, "unwrapped": 2})


def test_an_empty_block_of_thinking_is_taken_off() -> None:
    """With /no_think, or `enable_thinking` off in a template of its own, Qwen 3 begins with an empty block."""
    script = Script(["<think>\n\n</think>\n\nNo"], [f"<think>\n\n</think>\n\n{REVISION}"])
    assert edit_one(script) == (REVISION, {"no": 1, "unwrapped": 2})


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_of_a_server_that_separates_thinking_only_the_content_counts(field: str) -> None:
    """vLLM with `--reasoning-parser qwen3`: what the model thinks is in a field of its own, of either name."""
    script = Script(
        [{field: "Yes. They want it brief.", "content": "\n\nNo"}], [{field: "Dear Ann!", "content": f"\n\n{REVISION}"}]
    )
    assert edit_one(script) == (REVISION, {"no": 1})
    never_ends = ({field: "Yes. They want it", "content": None}, "length")
    assert edit_one(Script([never_ends, "yes"])) == (RESPONSE, {"yes": 1, "neither": 1})
    revised = Script(["no"], [never_ends, {field: "Hm.", "content": ""}, REVISION])
    assert edit_one(revised) == (REVISION, {"no": 1, "runaway": 1, "empty": 1})


def test_thinking_that_does_not_end_is_no_answer() -> None:
    script = Script([("<think>\nYes\nNo\nYes", "length"), "no"], [(f"<think>\n{REVISION}", "length"), REVISION])
    assert edit_one(script) == (REVISION, {"no": 1, "neither": 1, "runaway": 1})


def test_the_counts_are_json() -> None:
    with user_of(Script(["yes"])) as user:
        assert user.stats.to_json() == asdict(user.stats) and set(user.stats.to_json().values()) == {0}


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match=r"tries: 0"), user_of(Script(["yes"]), tries=0):
        pass
    with pytest.raises(InputError, match=r"temperature"), user_of(Script(["yes"]), temperature=-1):
        pass


class Fails:
    """The server goes down when the first revision is asked for."""

    name = "fails"

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        if not is_question(str(contexts[0])):
            raise InputError("down")
        return ["no"] * len(contexts)


def test_a_user_with_a_cache_goes_on_where_it_was(tmp_path: Path) -> None:
    def played_by(policy: Any) -> tuple[LlmUser, CachedPolicy]:
        cached = CachedPolicy(policy, "qwen", tmp_path / "answers.db")
        return LlmUser("ann", cached), cached

    user, _ = played_by(Fails())
    arguments = (Letters(), [LETTER] * 2, [RESPONSE] * 2, [(1,), (2,)])
    with pytest.raises(InputError, match="down"):
        user.edit(*arguments)

    class Works(Fails):
        def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
            return [REVISION] * len(contexts)

    user, cached = played_by(Works())
    assert user.edit(*arguments) == [REVISION] * 2
    assert (cached.hits, cached.misses) == (2, 2)


def test_a_model_in_this_process_plays_the_user() -> None:
    policy = open_policy("embedded", "embedded")
    documents = [Document("Write an email. Notes: thank Ann for the parcel.", "letter")] * 2

    def edits(seeds: Sequence[Sequence[int]]) -> tuple[list[str], LlmUser]:
        user = LlmUser("tiny", policy, temperature=1.0, max_new_tokens=60, tries=2)
        return user.edit(Letters(), documents, [RESPONSE] * 2, seeds), user

    first, user = edits([(0, 1), (0, 2)])
    assert user.stats.yes + user.stats.no == 2 and user.stats.neither > 0
    assert (first, user.stats) == ((again := edits([(0, 1), (0, 2)]))[0], again[1].stats)
    assert all(edit for edit in first)
