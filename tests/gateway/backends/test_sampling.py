from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.gateway.backends import BackendError
from copydesk.gateway.backends.sampling import Sampler, parse_generation_request
from copydesk.gateway.schemas import GenerationRequest
from copydesk.models.generate import GumbelNoise

USER = [{"role": "user", "content": "hello"}]


def parameters(**fields: Any) -> GenerationRequest:
    return parse_generation_request({"messages": USER, **fields})


def answer_fields(found: GenerationRequest) -> dict[str, Any]:
    """Everything that decides an answer; not who asks, and which fields were given."""
    return found.model_dump(include=set(GenerationRequest.model_fields) - {"model", "stream", "user", "n"})


def scores(draw: Sampler, logits: list[float]) -> torch.Tensor:
    return draw.process_logits(torch.tensor([logits]))


def test_missing_parameters_have_openais_defaults() -> None:
    found = parameters(model="x", stream=True, n=1, tools=[], logit_bias={}, response_format={"type": "text"}, user="u")
    assert (found.temperature, found.top_p, found.presence_penalty, found.frequency_penalty) == (1, 1, 0, 0)
    assert (found.token_limit, found.seed, found.stop, found.stream_options.include_usage) == (None, None, (), None)
    fields = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "stream_options", "tools")
    ignored = parameters(store=True, metadata={"a": "b"}, service_tier="auto", parallel_tool_calls=True)
    for other in (parameters(**dict.fromkeys(fields)), ignored):
        assert answer_fields(other) == answer_fields(found)


def test_parameters_are_read() -> None:
    found = parameters(
        temperature=0, top_p=0.5, presence_penalty=-2, frequency_penalty=1.5, max_tokens=7, stop="\n", seed=-3,
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert (found.temperature, found.top_p, found.presence_penalty, found.frequency_penalty) == (0, 0.5, -2, 1.5)
    assert (found.token_limit, found.seed, found.stop, found.stream_options.include_usage) == (7, -3, ("\n",), True)
    assert parameters(max_tokens=7, max_completion_tokens=5).token_limit == 5
    assert parameters(stop=["a", "b", "c", "d"]).stop == ("a", "b", "c", "d")


def test_messages_become_roles_and_text() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    given = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "name": "Ada", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": None},
    ]
    found = parse_generation_request({"messages": given}).chat
    assert [(one.role, one.content) for one in found] == [
        ("system", "be kind"), ("user", "one\ntwo"), ("assistant", "")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1), ("temperature", 2.1), ("temperature", "hot"), ("temperature", float("nan")),
        ("temperature", True), ("temperature", 10**400), ("temperature", float("inf")), ("temperature", [1]),
        ("top_p", 1.1), ("top_p", -0.1), ("top_p", {}), ("presence_penalty", 3), ("frequency_penalty", -2.5),
        ("max_tokens", 0), ("max_tokens", 1.0), ("max_tokens", True), ("max_tokens", 10**30), ("max_tokens", "5"),
        ("max_completion_tokens", -1), ("seed", 2**63), ("seed", 1.5), ("seed", False), ("stop", list("abcde")),
        ("stop", ""), ("stop", ["a", ""]), ("stop", [1]), ("stop", 3), ("n", 0), ("n", True), ("n", "1"),
        ("stream_options", True), ("stream_options", {"include_usage": "yes"}), ("logprobs", 0), ("tools", {}),
        ("logit_bias", []), ("response_format", "text"), ("user", 5), ("messages", None), ("messages", []),
        ("messages", "hi"), ("messages", ["hi"]), ("messages", [{}]), ("messages", [{"role": 1, "content": "x"}]),
        ("messages", [{"role": "robot", "content": "x"}]), ("messages", [{"role": "user", "content": 5}]),
        ("messages", [{"role": "user", "content": ["x"]}]), ("messages", [{"role": "user", "content": {"a": 1}}]),
        ("messages", [{"role": "user", "content": [{"type": "text"}]}]),
        ("messages", [{"role": "user", "content": "half \ud83d"}]),
    ],
)  # fmt: skip
def test_an_invalid_parameter_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(BackendError) as caught:
        parameters(**{field: value})
    error = caught.value
    assert (error.status, error.retriable_elsewhere, error.param, error.code) == (400, False, field, "invalid_value")
    assert field in error.message and "\n" not in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2), ("tools", [{"type": "function"}]), ("tool_choice", "required"), ("functions", [{}]),
        ("function_call", {"name": "f"}), ("logprobs", True), ("top_logprobs", 2), ("logit_bias", {"5": 1}),
        ("response_format", {"type": "json_object"}), ("modalities", ["text", "audio"]), ("audio", {"voice": "a"}),
        ("web_search_options", {}), ("messages", [{"role": "tool", "content": "x", "tool_call_id": "1"}]),
        ("messages", [{"role": "assistant", "content": None, "tool_calls": [{}]}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
    ],
)  # fmt: skip
def test_an_unsupported_parameter_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(BackendError) as caught:
        parameters(**{field: value})
    error = caught.value
    assert (error.status, error.retriable_elsewhere, error.param, error.code) == (
        400,
        False,
        field,
        "unsupported_parameter",
    )


NUMBERS = st.integers() | st.integers(10**18, 10**40) | st.floats()
KEYS = st.sampled_from(["role", "content", "type", "text", "include_usage", "tool_calls"]) | st.text(max_size=3)
STRINGS = st.sampled_from(["user", "assistant", "system", "text", "none"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | STRINGS | st.text(st.characters(categories=["Cs"]), max_size=2),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "messages", "temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens", "max_completion_tokens",
    "stop", "seed", "stream_options", "user", "n", "tools", "tool_choice", "functions", "function_call", "logprobs",
    "top_logprobs", "logit_bias", "response_format", "modalities", "audio", "web_search_options",
]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3), st.booleans())
def test_every_body_is_read_or_refused(fields: dict[str, Any], usual: bool) -> None:
    request = {"messages": USER, **fields} if usual else fields
    try:
        found = parse_generation_request(request)
    except BackendError as exc:
        assert exc.status == 400 and not exc.retriable_elsewhere and exc.param in FIELDS
    else:
        assert found.messages and 0 <= found.temperature <= 2 and all(found.stop)
        Sampler(found).process_logits(torch.zeros(1, 5))


def test_the_noise_depends_on_the_seed_alone() -> None:
    logits = torch.randn(1, 50)
    one, same, other = (Sampler(parameters(seed=seed, temperature=0.7)) for seed in (4, 4, 5))
    noise = GumbelNoise([(4,)], 0.7)
    nothing: Any = None
    for _ in range(3):
        first = one.process_logits(logits)
        assert torch.equal(first, same.process_logits(logits))
        assert torch.allclose(first, noise(nothing, logits))  # type: ignore[arg-type]
        assert not torch.equal(first, other.process_logits(logits))
    assert not torch.equal(
        Sampler(parameters(seed=-4)).process_logits(logits), Sampler(parameters(seed=4)).process_logits(logits)
    )
    assert not torch.equal(Sampler(parameters()).process_logits(logits), Sampler(parameters()).process_logits(logits))


def test_without_temperature_it_is_the_likeliest() -> None:
    assert torch.equal(scores(Sampler(parameters(temperature=0)), [1, 3, 2]), torch.tensor([[1.0, 3, 2]]))
    assert int(scores(Sampler(parameters(temperature=1e-39, top_p=0.5)), [1e3, 3e3, -2e3]).argmax()) == 1


def test_top_p_leaves_the_likeliest_that_make_up_its_share() -> None:
    # At temperature 0.5 the shares are 0.66, 0.24, 0.09 and 0.01; at temperature 1 they would be 0.53, 0.32, ...
    logits = (torch.tensor([0.53, 0.32, 0.1954, 0.0651]).log()).tolist()
    draw = Sampler(parameters(seed=0, temperature=0.5, top_p=0.85))
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[scores(draw, logits).argmax()] += 1
    assert counts[2] == counts[3] == 0
    assert counts[0] / 4000 == pytest.approx(0.53**2 / (0.53**2 + 0.32**2), abs=0.03)
    assert int(scores(Sampler(parameters(top_p=0)), logits).argmax()) == 0


def test_penalties_are_subtracted_from_what_was_written() -> None:
    draw = Sampler(parameters(temperature=0, presence_penalty=0.5, frequency_penalty=0.25))
    for token in (2, 0, 2):
        draw.record_token(token)
    assert scores(draw, [1, 1, 1]).tolist() == [[0.25, 1, 0]]
