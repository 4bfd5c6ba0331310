import asyncio
import gc
import json
import subprocess
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from tests.support.small_models import shaken
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk import embedded
from copydesk.errors import InputError
from copydesk.gateway.backends import BackendError, PolicyBackend
from copydesk.gateway.backends import local as module
from copydesk.gateway.backends.batching import BASE_ADAPTER, BatchingEngine
from copydesk.gateway.backends.local import LocalServer
from copydesk.models.load import load_model
from copydesk.policies import LocalPolicy, Sampling

TEXTS = ["Tell Ada about the meeting", "Tell Bo", "Hi", "Tell Cy about the meeting on Monday, and be kind"]


def ask(text: str = TEXTS[0], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "seed": 0, "max_tokens": 20, **fields}


def content(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def serve(work: Callable[[LocalServer], Awaitable[Any]], **settings: Any) -> Any:
    """Do something with a server, and close it."""

    async def whole() -> Any:
        server = LocalServer(**settings)
        try:
            return await asyncio.wait_for(work(server), 60)
        finally:
            await server.close()

    return asyncio.run(whole())


async def text_of(policy: PolicyBackend, request: dict[str, Any]) -> str:
    return content(await policy.complete(request))


def alone(spec: Path | str, text: str, seed: int, tokens: int = 20) -> str:
    """What a policy answers by other means."""
    model, tokenizer, _ = load_model(str(spec))
    (answer,) = LocalPolicy("alone", model, tokenizer).respond([text], [(seed,)], Sampling(max_new_tokens=tokens))
    return answer.rstrip("\ufffd")


@pytest.fixture
def base(tmp_path: Path, tiny_model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A model without a chat template that says much and never ends."""
    folder = tmp_path / "base"
    shaken(tiny_model, 0.1, 0)
    tiny_model.lm_head.weight.data *= 8
    tiny_model.lm_head.weight.data[plain_tokenizer.eos_token_id] = 0
    tiny_model.save_pretrained(folder)
    plain_tokenizer.save_pretrained(folder)
    return folder


def adapter(folder: Path, base: Path, seed: int, **fields: Any) -> Path:
    """An adapter that changes every answer."""
    config = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj", "down_proj"], **fields)
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), config)
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = 0.5 * torch.randn_like(weight)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture
def adapters(tmp_path: Path, base: Path) -> list[Path]:
    return [adapter(tmp_path / f"lora-{seed}", base, seed) for seed in (1, 2)]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Which adapters each forward pass had rows of."""
    seen: list[list[str]] = []
    plain = BatchingEngine._forward

    def spy(self: BatchingEngine, adapters: list[str], *rest: Any) -> torch.Tensor:
        seen.append(adapters)
        return plain(self, adapters, *rest)

    monkeypatch.setattr(BatchingEngine, "_forward", spy)
    yield seen


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many tokens take a second, however fast the machine is."""
    plain = BatchingEngine._forward

    def later(self: BatchingEngine, *rest: Any) -> torch.Tensor:
        time.sleep(0.005)
        return plain(self, *rest)

    monkeypatch.setattr(BatchingEngine, "_forward", later)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which models were read from the disk."""
    seen: list[str] = []

    def spy(spec: str, *rest: Any) -> Any:
        seen.append(spec)
        return load_model(spec, *rest)

    monkeypatch.setattr(module, "load_model", spy)
    return seen


def test_the_protocol_knows_no_torch() -> None:
    code = "import sys, copydesk.gateway.backends.base; assert not {'torch', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_adapters_and_their_base_answer_in_one_batch_as_each_does_alone(
    base: Path, adapters: list[Path], passes: list[list[str]], loads: list[str]
) -> None:
    specs = [base, *adapters]

    async def work(server: LocalServer) -> list[list[str]]:
        policies = [await server.open(spec.name, str(spec)) for spec in specs]
        assert [policy.name for policy in policies] == ["base", "lora-1", "lora-2"]
        asked = [text_of(policy, ask(text, seed=seed)) for policy in policies for seed, text in enumerate(TEXTS)]
        answers = await asyncio.gather(*asked)
        return [answers[start : start + len(TEXTS)] for start in range(0, len(answers), len(TEXTS))]

    found = serve(work)
    assert loads == [str(base)]  # one base in memory
    assert found == [[alone(spec, text, seed) for seed, text in enumerate(TEXTS)] for spec in specs]
    assert len({answer for answers in found for answer in answers}) == 12
    assert max(len(set(adapters)) for adapters in passes) == 3 and max(map(len, passes)) == 12


def test_separate_models_take_turns(base: Path, loads: list[str]) -> None:
    async def work(server: LocalServer) -> list[str]:
        ours, other = await server.open("base", str(base)), await server.open("embedded", "embedded")
        again = await server.open("again", str(base))
        return await asyncio.gather(*(text_of(policy, ask()) for policy in (ours, other, again)))

    found = serve(work)
    assert loads == [str(base), "embedded"]
    assert found == [alone(spec, TEXTS[0], 0) for spec in (base, "embedded", base)]


def test_the_embedded_model_shares_itself_with_its_adapters(tmp_path: Path, loads: list[str]) -> None:
    folder = adapter(tmp_path / "lora", embedded.path(), 3)

    async def work(server: LocalServer) -> list[str]:
        policies = [await server.open("a", "embedded"), await server.open("b", str(folder))]
        return [await text_of(policy, ask()) for policy in policies]

    plain, adapted = serve(work)
    assert loads == ["embedded"]
    assert plain == alone("embedded", TEXTS[0], 0) and adapted == alone(folder, TEXTS[0], 0) != plain


def test_without_a_chat_template_messages_become_paragraphs_and_one_is_read_as_it_stands(base: Path) -> None:
    async def work(server: LocalServer) -> list[str]:
        policy = await server.open("base", str(base))
        system, user = {"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}
        dialogues = [system, user], [user], [system]
        return [await text_of(policy, {**ask(), "messages": messages}) for messages in dialogues]

    texts = ["system: Be kind\n\nuser: Hi\n\nassistant:", "Hi", "system: Be kind\n\nassistant:"]
    assert serve(work) == [alone(base, text, 0) for text in texts]


def test_a_chat_template_is_used_and_may_refuse(model_folder: Path, chat_tokenizer: PreTrainedTokenizerFast) -> None:
    async def work(server: LocalServer) -> tuple[str, BackendError]:
        policy = await server.open("chat", str(model_folder))
        with pytest.raises(BackendError) as caught:
            await policy.complete({"messages": [{"role": "assistant", "content": "I begin"}]})
        return await text_of(policy, ask()), caught.value

    file = model_folder / "chat_template.jinja"
    refusal = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('the user begins') }}{% endif %}"
    file.write_text(refusal + file.read_text())
    text, error = serve(work)
    assert text == alone(model_folder, TEXTS[0], 0)
    assert (error.status, error.retriable_elsewhere, error.param) == (
        400,
        False,
        "messages",
    ) and "the user begins" in error.message


def test_an_answer_has_openai_s_form(base: Path) -> None:
    answer = serve(lambda server: _first(server, base, ask()))
    assert answer["object"] == "chat.completion" and isinstance(answer["created"], int)
    (choice,) = answer["choices"]
    assert (choice["index"], choice["message"]["role"], choice["finish_reason"]) == (0, "assistant", "length")
    prompt = answer["usage"]["prompt_tokens"]
    assert answer["usage"] == {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20}
    assert prompt == len(load_model(str(base))[1](TEXTS[0])["input_ids"])
    json.dumps(answer)


async def _first(server: LocalServer, spec: Path, request: dict[str, Any]) -> dict[str, Any]:
    return await (await server.open("first", str(spec))).complete(request)


def test_a_stream_says_what_the_whole_answer_does(base: Path) -> None:
    async def work(server: LocalServer) -> None:
        policy = await server.open("base", str(base))
        for seed in range(6):
            request = ask(seed=seed, max_tokens=60, stop=["e"] if seed % 2 else None)
            whole = await policy.complete(request)
            options = {"stream_options": {"include_usage": True}} if seed < 3 else {}
            chunks = [chunk async for chunk in policy.stream({**request, "stream": True, **options})]
            if options:
                last = chunks.pop()
                assert last["choices"] == [] and last["usage"] == whole["usage"]
                assert all(chunk["usage"] is None for chunk in chunks)
            assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
            deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
            assert deltas[0] == {"role": "assistant", "content": ""} and deltas[-1] == {}
            assert "".join(delta["content"] for delta in deltas[1:-1]) == content(whole)
            reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
            assert reasons == [None] * (len(chunks) - 1) + [whole["choices"][0]["finish_reason"]]
            assert len(chunks) > 20 or seed % 2

    serve(work)


def test_an_answer_stops_before_a_stop_string(base: Path) -> None:
    async def work(server: LocalServer) -> None:
        policy = await server.open("base", str(base))
        whole = await text_of(policy, ask(max_tokens=60))
        stop = whole[20:23]
        answer = await policy.complete(ask(max_tokens=60, stop=["never there", stop]))
        assert content(answer) == whole[: whole.index(stop)]
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] < 60

    serve(work)


def test_each_request_has_its_own_limits(base: Path) -> None:
    async def work(server: LocalServer) -> list[int]:
        policy = await server.open("base", str(base))
        limits = [{"max_tokens": 3}, {"max_completion_tokens": 7}, {"max_tokens": None}, {"max_tokens": 10**6}]
        answers = await asyncio.gather(*(policy.complete(ask("Hi", **limit)) for limit in limits))
        return [answer["usage"]["completion_tokens"] for answer in answers]

    assert serve(work, max_new_tokens=11) == [3, 7, 11, 256 - 2]


def test_a_request_without_a_seed_gets_a_random_one(base: Path) -> None:
    async def work(server: LocalServer) -> set[str]:
        policy = await server.open("base", str(base))
        return set(await asyncio.gather(*(text_of(policy, ask(seed=None)) for _ in range(4))))

    assert len(serve(work)) == 4


@pytest.mark.usefixtures("slow")
def test_a_client_that_disconnects_does_not_change_other_answers(base: Path, passes: list[list[str]]) -> None:
    async def work(server: LocalServer) -> str:
        policy = await server.open("base", str(base))
        long = asyncio.create_task(policy.complete(ask(max_tokens=200)))
        gone, other = policy.stream(ask(max_tokens=200)), policy.stream(ask(TEXTS[1]))
        async with aclosing(gone):  # type: ignore[type-var]
            await anext(gone)
            await anext(other)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        return "".join([chunk["choices"][0]["delta"].get("content", "") async for chunk in other])

    assert serve(work) == alone(base, TEXTS[1], 0)
    assert max(map(len, passes)) == 3 and len(passes[-1]) == 1 and len(passes) < 100


@pytest.mark.usefixtures("slow")
def test_more_than_may_wait_are_refused_until_there_is_room(base: Path) -> None:
    async def work(server: LocalServer) -> None:
        policy = await server.open("base", str(base))
        running = policy.stream(ask(max_tokens=200))
        await anext(running)
        waiting = [asyncio.create_task(text_of(policy, ask())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BackendError) as caught:
            await policy.complete(ask())
        error = caught.value
        assert (error.status, error.retriable_elsewhere, error.code, error.retry_after) == (429, False, "overloaded", 1)
        waiting[0].cancel()  # whoever goes away makes room
        await asyncio.sleep(0.01)
        third = asyncio.create_task(text_of(policy, ask()))
        await running.aclose()  # type: ignore[attr-defined]
        assert await waiting[1] == await third

    serve(work, max_batch=1, max_waiting=2)


@pytest.mark.usefixtures("slow")
def test_a_newcomer_joins_a_running_batch(base: Path) -> None:
    async def work(server: LocalServer) -> None:
        policy = await server.open("base", str(base))
        long = asyncio.create_task(policy.complete(ask(max_tokens=240)))
        await asyncio.sleep(0.02)
        await policy.complete(ask(max_tokens=2))
        assert not long.done()
        long.cancel()

    serve(work)


@pytest.mark.slow
@pytest.mark.usefixtures("slow")
def test_opening_and_closing_do_not_disturb_what_runs(base: Path, adapters: list[Path], loads: list[str]) -> None:
    async def work(server: LocalServer) -> list[str]:
        policy = await server.open("base", str(base))
        running = [asyncio.create_task(text_of(policy, ask(text, max_tokens=200))) for text in TEXTS]
        await asyncio.sleep(0.02)
        first = await server.open("first", str(adapters[0]))
        second = await server.open("second", str(adapters[1]))
        assert not any(task.done() for task in running)
        assert await text_of(second, ask()) == alone(adapters[1], TEXTS[0], 0)
        await second.close()
        assert await text_of(first, ask()) == alone(adapters[0], TEXTS[0], 0)
        return await asyncio.gather(*running)

    assert serve(work) == [alone(base, text, 0, 200) for text in TEXTS]
    assert loads == [str(base)]


@pytest.mark.filterwarnings("error::UserWarning")
def test_closing_a_policy_frees_its_memory(base: Path, adapters: list[Path], request: pytest.FixtureRequest) -> None:
    request.addfinalizer(gc.enable)
    gc.disable()  # nobody else collects what closing leaves behind

    async def work(server: LocalServer) -> None:
        policies = [await server.open(spec.name, str(spec)) for spec in (base, *adapters)]
        await asyncio.gather(*(policy.complete(ask()) for policy in policies))
        (model,) = server._models.values()
        network = weakref.ref(model.engine.model)
        names = {voice.name for voice in model.adapters}
        del model

        def held() -> list[str]:
            return [name for name, _ in network().named_parameters() if "lora_" in name]  # type: ignore[union-attr]

        assert len(names) == 3 and len(held()) == 2 * 2 * 3 * 2
        await policies[1].close()
        await policies[1].close()  # twice is once
        assert len(held()) == 2 * 3 * 2
        with pytest.raises(BackendError, match="closed") as caught:
            await policies[1].complete(ask())
        assert caught.value.status == 503
        await policies[0].close()
        assert await text_of(policies[2], ask()) == alone(adapters[1], TEXTS[0], 0)
        await policies[2].close()
        assert network() is None and not server._models

    serve(work)


@pytest.mark.usefixtures("slow")
def test_closing_waits_for_the_answers_under_way(base: Path, adapters: list[Path]) -> None:
    async def work(server: LocalServer) -> None:
        policy = await server.open("lora", str(adapters[0]))
        running = asyncio.create_task(text_of(policy, ask(max_tokens=100)))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(policy.close())
        await asyncio.sleep(0)
        with pytest.raises(BackendError):
            await anext(policy.stream(ask()))
        assert not closing.done()
        await closing
        assert await running == alone(adapters[0], TEXTS[0], 0, 100)

    serve(work)


@pytest.mark.usefixtures("slow")
def test_a_closed_server_refuses_requests(base: Path) -> None:
    async def work(server: LocalServer) -> None:
        policy = await server.open("base", str(base))
        asked = [asyncio.create_task(policy.complete(ask(max_tokens=200))) for _ in range(5)]
        await asyncio.sleep(0.02)
        await server.close()
        for error in await asyncio.gather(*asked, policy.complete(ask()), return_exceptions=True):
            assert isinstance(error, BackendError) and error.status == 503
        await policy.close()

    serve(work, max_batch=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"use_dora": True}, {"init_lora_weights": "pissa"}, {"modules_to_save": ["lm_head"]}]
)
def test_an_adapter_that_cannot_be_mixed_answers_alone(
    tmp_path: Path, base: Path, adapters: list[Path], fields: dict[str, Any], loads: list[str], passes: list[list[str]]
) -> None:
    odd = adapter(tmp_path / "odd", base, 5, **fields)

    async def work(server: LocalServer) -> list[str]:
        policies = [await server.open(spec.name, str(spec)) for spec in (base, odd, adapters[0])]
        return await asyncio.gather(*(text_of(policy, ask()) for policy in policies))

    assert serve(work) == [alone(spec, TEXTS[0], 0) for spec in (base, odd, adapters[0])]
    assert loads == [str(base), str(odd)]
    assert max(map(len, passes)) == 2


def test_an_adapter_that_fails_in_a_mixed_batch_gets_a_base_of_its_own(
    base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch, loads: list[str]
) -> None:
    plain = BatchingEngine.smoke_test

    def rehearse(self: BatchingEngine, adapter: str) -> None:
        if adapter != BASE_ADAPTER:
            raise ValueError("this layer takes no adapter_names")
        plain(self, adapter)

    monkeypatch.setattr(BatchingEngine, "smoke_test", rehearse)

    async def work(server: LocalServer) -> list[str]:
        policies = [await server.open(spec.name, str(spec)) for spec in (base, adapters[0])]
        (model,) = server._models.values()
        assert not any("lora_" in name for name, _ in model.engine.model.named_parameters())
        return await asyncio.gather(*(text_of(policy, ask()) for policy in policies))

    assert serve(work) == [alone(spec, TEXTS[0], 0) for spec in (base, adapters[0])]
    assert loads == [str(base), str(adapters[0])]


def test_a_model_that_cannot_be_loaded_is_an_error_and_leaves_nothing(
    tmp_path: Path, base: Path, adapters: list[Path]
) -> None:
    wrong = adapter(tmp_path / "wrong", base, 6)
    weights = wrong / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    other_shape = adapter(tmp_path / "shape", base, 7)
    config = json.loads((other_shape / "adapter_config.json").read_text())
    (other_shape / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    prompt = tmp_path / "prompt"
    virtual = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    get_peft_model(LlamaForCausalLM.from_pretrained(base), virtual).save_pretrained(str(prompt))

    async def work(server: LocalServer) -> None:
        policies = [await server.open(spec.name, str(spec)) for spec in (base, adapters[0])]
        for spec in (tmp_path / "nowhere", wrong, other_shape, prompt):
            with pytest.raises(InputError, match=rf"{spec.name}"):
                await server.open("bad", str(spec))
        (model,) = server._models.values()
        assert len(model.adapters) == 2
        assert len([name for name, _ in model.engine.model.named_parameters() if "lora_" in name]) == 2 * 3 * 2
        found = await asyncio.gather(*(text_of(policy, ask()) for policy in policies))
        assert found == [alone(spec, TEXTS[0], 0) for spec in (base, adapters[0])]

    serve(work)


def test_a_model_that_cannot_be_served_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise TypeError("no cache here")

    monkeypatch.setattr(LlamaForCausalLM, "forward", broken)

    async def work(server: LocalServer) -> None:
        with pytest.raises(InputError, match=r"base: cannot generate text token by token.*no cache here"):
            await server.open("base", str(base))
        assert not server._models

    serve(work)


def test_a_model_whose_files_changed_is_loaded_again(base: Path, tiny_model: LlamaForCausalLM) -> None:
    async def work(server: LocalServer) -> list[str]:
        before = await server.open("before", str(base))
        shaken(tiny_model, 0.1, 5).save_pretrained(base)
        after = await server.open("after", str(base))
        return [await text_of(before, ask()), await text_of(after, ask())]

    old = alone(base, TEXTS[0], 0)
    assert serve(work) == [old, alone(base, TEXTS[0], 0)]
    assert old != alone(base, TEXTS[0], 0)


def test_a_failing_model_fails_cleanly_and_lives_on(
    base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: LocalServer) -> None:
        policies = [await server.open(spec.name, str(spec)) for spec in (base, *adapters)]
        (model,) = server._models.values()
        inner = model.engine.model.model.layers[1].mlp
        with monkeypatch.context() as broken:
            broken.setattr(inner, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no more")))
            for error in await asyncio.gather(*(policy.complete(ask()) for policy in policies), return_exceptions=True):
                assert isinstance(error, BackendError) and (error.status, error.retriable_elsewhere) == (500, True)
        # Nothing of the failed pass is left in the model: no hook tells a layer of rows that are gone.
        assert not any(layer._forward_pre_hooks for layer in model.engine.model.modules())
        found = await asyncio.gather(*(text_of(policy, ask()) for policy in policies))
        assert found == [alone(spec, TEXTS[0], 0) for spec in (base, *adapters)]

    serve(work)


WEIRD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.text(max_size=2))


@pytest.mark.slow
def test_every_request_gets_an_answer_or_an_error(base: Path) -> None:
    numbers = st.floats(-2, 2) | st.floats() | st.integers()
    fields = st.fixed_dictionaries(
        {"max_tokens": st.integers(1, 3)},
        optional={
            "messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": WEIRD | st.text()})),
            "temperature": numbers, "top_p": numbers, "presence_penalty": numbers, "frequency_penalty": numbers,
            "seed": st.integers(), "stop": WEIRD, "n": WEIRD, "tools": WEIRD, "store": WEIRD,
        },
    )  # fmt: skip
    with asyncio.Runner() as runner:
        server = LocalServer()
        policy = runner.run(server.open("base", str(base)))
        answered = []

        @settings(max_examples=150)
        @given(fields)
        def check(request: dict[str, Any]) -> None:
            try:
                runner.run(policy.complete({**ask(), **request}))
                answered.append(request)
            except BackendError as exc:
                assert exc.status == 400 and not exc.retriable_elsewhere

        check()
        assert len(answered) > 10
        runner.run(server.close())
    gc.collect()
