"""The grammar of policy specs, and the commands that take each form; keys are in gateway/attacks."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from copydesk.cli._shared import parse_policy_arg, resolve_spec
from copydesk.cli.app import app
from copydesk.errors import InputError
from copydesk.policy_spec import FORMS, FormName, Origin, PolicySpec, SpecCommand, join_commands

EXAMPLES: dict[FormName, str] = {
    "model": "policies/early-1",
    "server": "org/model@tag@http://127.0.0.1:8000/v1",
    "vllm": "vllm:policies/early-1@https://host/v1",
    "best-of-n": "best-of-8:policies/sft@policies/rl/cost_model",
    "icl": "icl-3:embedded@log.jsonl",
    "cipher": "cipher-5:m@http://127.0.0.1:8000/v1@log.jsonl",
}
COMMANDS: tuple[SpecCommand, ...] = get_args(SpecCommand)


def test_every_form_has_an_example_and_a_command_that_takes_it() -> None:
    assert set(EXAMPLES) == set(FORMS) == set(get_args(FormName))
    assert all(form.commands and set(form.commands) <= set(COMMANDS) for form in FORMS.values())


@pytest.mark.parametrize("form", FORMS)
def test_an_example_of_a_form_has_that_form(form: FormName) -> None:
    assert PolicySpec.parse(EXAMPLES[form]).form == form


def test_the_parts_of_a_spec_are_read() -> None:
    server = PolicySpec.parse(EXAMPLES["server"])
    assert (server.model, server.url) == ("org/model@tag", "http://127.0.0.1:8000/v1")
    vllm = PolicySpec.parse(EXAMPLES["vllm"])
    assert (vllm.model, vllm.url) == ("policies/early-1", "https://host/v1")
    best = PolicySpec.parse(EXAMPLES["best-of-n"])
    assert best.inner is not None
    assert (best.count, best.inner.text, best.path) == (8, "policies/sft", "policies/rl/cost_model")
    assert PolicySpec.parse("best-of-2:policies/rl").path == ""
    cipher = PolicySpec.parse(EXAMPLES["cipher"])
    assert cipher.inner is not None and (cipher.count, cipher.inner.form, cipher.path) == (5, "server", "log.jsonl")
    nested = PolicySpec.parse("icl-2:best-of-3:sft@costs@log.jsonl").inner
    assert nested is not None and (nested.form, nested.path) == ("best-of-n", "costs")


@pytest.mark.parametrize(
    "text", ["embedded", "Qwen/Qwen3-0.6B", "hub/icl-3", "icl-2/x:y", "C:icl", "model.gguf", "a@b"]
)
def test_whatever_has_no_other_form_is_a_model(text: str) -> None:
    assert PolicySpec.parse(text) == PolicySpec(text, "model", text)


def test_a_server_s_model_may_have_a_name_that_looks_like_another_form() -> None:
    spec = PolicySpec.parse("cipher-7b:latest@http://127.0.0.1:11434/v1")
    assert (spec.form, spec.model) == ("server", "cipher-7b:latest")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vllm:policies/early-1", "write vllm:FOLDER@URL"),
        ("vllm:@http://host/v1", "write vllm:FOLDER@URL"),
        ("best-of-0:sft", "N is '0'"),
        ("best-of-two:sft", "N is 'two'"),
        ("best-of-3:", "not with ''"),
        ("best-of-3:qwen@http://host/v1", "not with 'qwen@http://host/v1'"),
        ("best-of-3:qwen@http://host/v1@costs", "not with 'qwen@http://host/v1'"),
        ("best-of-3:icl-2:sft@log@costs", "not with 'icl-2:sft@log'"),
        ("icl-1.5:sft@log", "K is '1.5'"),
        ("icl-3:sft", "the log to learn from is missing"),
        ("icl-3:vllm:sft@log.jsonl", "write vllm:FOLDER@URL"),
    ],
)
def test_a_malformed_spec_is_refused_in_one_line_that_begins_with_it(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        PolicySpec.parse(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert text in str(caught.value) or str(caught.value).startswith("vllm:")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_command_takes_a_form_or_refuses_it_by_name(form: FormName, command: SpecCommand) -> None:
    word = f"a={EXAMPLES[form]}"
    if command in FORMS[form].commands:
        assert parse_policy_arg(command, word) == ("a", EXAMPLES[form])
        return
    with pytest.raises(InputError) as caught:
        parse_policy_arg(command, word)
    message = str(caught.value)
    assert f"`copydesk {command}` does not take {FORMS[form].syntax}" in message and "\n" not in message
    assert join_commands(FORMS[form].commands) in message


def test_an_inner_spec_is_checked_too() -> None:
    with pytest.raises(InputError, match=r"^vllm:sft@http://h/v1: `copydesk simulate` does not take vllm:FOLDER@URL"):
        PolicySpec.parse("icl-3:vllm:sft@http://h/v1@log.jsonl").check_command("simulate")


@pytest.mark.parametrize(
    ("command", "form", "words"),
    [
        ("serve", "icl", ["serve", "--policy", "a={}"]),
        ("policies add", "best-of-n", ["policies", "add", "a={}", "--url", "http://127.0.0.1:1"]),
        ("simulate", "vllm", ["simulate", "--policy", "a={}"]),
        ("bench --user", "cipher", ["bench", "paper", "--user", "a={}"]),
    ],
)
def test_commands_refuse_a_form_before_they_write_anything(
    command: SpecCommand, form: FormName, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [word.format(EXAMPLES[form]) for word in words]
    with pytest.raises(InputError, match=f"`copydesk {command}` does not take"):
        CliRunner().invoke(app, filled, catch_exceptions=False)
    assert not any(tmp_path.iterdir())


def test_the_documentation_lists_the_forms_and_the_commands_that_take_them() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "policy-specs.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    header = ["Form", "Names", *(f"`{command}`" for command in COMMANDS)]
    expected = [
        [f"`{form.syntax}`", form.meaning, *("yes" if command in form.commands else "no" for command in COMMANDS)]
        for form in FORMS.values()
    ]
    start = rows.index(header)
    assert rows[start + 2 : start + 2 + len(expected)] == expected


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://LocalHost:80", "http://localhost"),
        ("https://my_vllm:443/a/b%20c", "https://my_vllm"),
        ("https://[0:0::1]:8443/v1", "https://[::1]:8443"),
    ],
)
def test_an_origin_is_scheme_host_and_port_in_one_spelling(url: str, origin: str) -> None:
    assert str(Origin.of(url)) == origin
    assert Origin.of(origin) == Origin.of(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://a:0/v1",
        "http://a:65536/v1",
        "http://a:99999999/v1",
        "http://a:/v1",
        "http://[::1/v1",
        "http://[::1%25lo]/v1",
        "http://a..b/v1",
        "http://a./v1",
        "http://-a/v1",
        "http://a\\.evil.example/v1",
        "http://a%2eevil.example/v1",
        "http://a?v=1",
        "http://a/v1?v=1",
        "http://a/v1#x",
        "http://bücher.example/v1",
        "http://ａpi.openai.com/v1",
        "http://" + "a" * 254,
        "http:///v1",
    ],
)
def test_an_address_that_two_programs_could_read_differently_is_refused(url: str) -> None:
    for text in (f"m@{url}", f"vllm:folder@{url}"):
        with pytest.raises(InputError, match="not the address of a server"):
            PolicySpec.parse(text)


@pytest.mark.parametrize("text", ["m@https://ann:word@host/v1", "m@HTTP://host/v1", "m@http://a b/v1"])
def test_an_address_with_a_password_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InputError) as caught:
        PolicySpec.parse(text)
    assert "word" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("character", ["\n", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\ud800", "\x00"])
def test_a_spec_holds_no_control_character(character: str) -> None:
    for text in (f"m{character}@http://h/v1", f"folder{character}", f"icl-3:a@b{character}"):
        with pytest.raises(InputError, match="control character") as caught:
            PolicySpec.parse(text)
        assert character not in str(caught.value)


def test_a_vllm_adapter_s_path_is_resolved_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    assert resolve_spec("vllm:v@http://v/v1") == f"vllm:{tmp_path / 'v'}@http://v/v1"


def test_the_grammar_loads_no_torch() -> None:
    code = "import sys, copydesk.policy_spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
