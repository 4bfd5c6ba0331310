"""Parse policy specs and find the API key of the server that a spec names.

A policy spec is the SPEC of `--policy NAME=SPEC`. `FORMS` lists the forms and the commands that take each; the
documentation (docs/reference/policy-specs.md) repeats it, and a test compares the two.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from copydesk.errors import InputError

FormName = Literal["model", "server", "vllm", "best-of-n", "icl", "cipher"]
SpecCommand = Literal["serve", "policies add", "simulate", "bench --user", "evaluate"]

_SHARED_KEY_VARIABLE = "COPYDESK_UPSTREAM_KEY"
_OPENAI_ORIGIN = ("https", "api.openai.com", 443)
_OPENAI_KEY_VARIABLE = "OPENAI_API_KEY"

_SERVER_SPEC = re.compile(r"(.+)@(https?://[^\s@]+)")
_VLLM_PREFIX = "vllm:"
_COUNTED_SPEC = re.compile(r"(best-of|icl|cipher)-([^:/]*):(.*)", re.DOTALL)
_COUNT = re.compile(r"0*[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class SpecForm:
    """A form that a policy spec can have.

    Attributes:
        syntax: how it is written.
        meaning: what it names, as a noun phrase.
        commands: the commands that take it.
    """

    syntax: str
    meaning: str
    commands: tuple[SpecCommand, ...]


FORMS: dict[FormName, SpecForm] = {
    "model": SpecForm(
        "MODEL",
        "a model or a policy's folder, run in this process",
        ("serve", "policies add", "simulate", "bench --user", "evaluate"),
    ),
    "server": SpecForm(
        "MODEL@URL",
        "a model at an OpenAI-compatible server",
        ("serve", "policies add", "simulate", "bench --user"),
    ),
    "vllm": SpecForm("vllm:FOLDER@URL", "a LoRA adapter loaded into a vLLM server", ("serve", "policies add")),
    "best-of-n": SpecForm("best-of-N:SPEC@COST_MODEL", "the cheapest of N responses by a cost model", ("simulate",)),
    "icl": SpecForm("icl-K:SPEC@LOG", "a policy prompted with K past edits", ("simulate",)),
    "cipher": SpecForm("cipher-K:SPEC@LOG", "a policy prompted with the taste behind K past edits", ("simulate",)),
}
"""Every form of a policy spec, and the commands that take it."""


@dataclass(frozen=True)
class PolicySpec:
    """A parsed policy spec.

    Attributes:
        text: the spec as it was given.
        form: which of `FORMS` it has.
        model: `model`, `server`: the model; `vllm`: the adapter's folder; else empty.
        url: `server`, `vllm`: where the server's API begins.
        count: N or K of the other forms.
        inner: the spec of the policy that drafts or is prompted, in the other forms.
        path: the cost model's folder (empty: the one in the folder of `inner`) or the log, in the other forms.
    """

    text: str
    form: FormName
    model: str = ""
    url: str | None = None
    count: int = 0
    inner: "PolicySpec | None" = None
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "PolicySpec":
        """Read a spec; whether its folders, files and servers exist is not checked.

        Raises:
            InputError: a part is missing or malformed.
        """
        server = _SERVER_SPEC.fullmatch(text)
        counted = _COUNTED_SPEC.fullmatch(text)
        # A server's model may be called "cipher-7b:latest".
        if counted is not None and (server is None or _COUNT.fullmatch(counted[2])):
            return _parse_counted(text, counted, at_server=server is not None)
        if text.startswith(_VLLM_PREFIX):
            if server is None or server[1] == _VLLM_PREFIX:
                raise InputError(
                    f"{text}: an adapter's folder and a server are needed; write vllm:FOLDER@URL, such as "
                    "vllm:policies/early-1@http://127.0.0.1:8000/v1"
                )
            return cls(text, "vllm", server[1].removeprefix(_VLLM_PREFIX), server[2])
        if server is not None:
            return cls(text, "server", server[1], server[2])
        return cls(text, "model", text)

    def check_command(self, command: SpecCommand) -> None:
        """Refuse a form, here or in an inner spec, that a command does not take.

        Raises:
            InputError: it names the form, the command, and the commands that take the form.
        """
        form = FORMS[self.form]
        if command not in form.commands:
            raise InputError(
                f"{self.text}: `copydesk {command}` does not take {form.syntax} ({form.meaning}); "
                f"{join_commands(form.commands)} {'do' if len(form.commands) > 1 else 'does'}"
            )
        if self.inner is not None:
            self.inner.check_command(command)

    def api_key(self, name: str, environ: Mapping[str, str]) -> str | None:
        """The API key for the server that this spec names, from environment variables.

        It is the first of `list_api_key_variables` that is set.

        Args:
            name: the policy's name.
            environ: the environment, such as `os.environ`.

        Returns:
            The key; `None` if none is set, or the spec names no server.

        Raises:
            InputError: the key holds a character that no HTTP header may hold.
        """
        if self.url is None:
            return None
        for variable in list_api_key_variables(name, self.url):
            if key := environ.get(variable, "").strip():
                if not re.fullmatch(r"[!-~]+", key):
                    raise InputError(
                        f"{name}: the server's key in {variable} holds a space or a letter that no key has; check it"
                    )
                return key
        return None


def list_api_key_variables(name: str, url: str) -> list[str]:
    """The environment variables that may hold the API key of a policy's server, the most specific first.

    They are `COPYDESK_KEY_` and the policy's name in capitals, with `_` for every character but A-Z and 0-9;
    `COPYDESK_UPSTREAM_KEY`; and `OPENAI_API_KEY`, which is sent to https://api.openai.com (port 443) and to no other
    origin.
    """
    own = "COPYDESK_KEY_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    openai = [_OPENAI_KEY_VARIABLE] if _parse_origin(url) == _OPENAI_ORIGIN else []
    return [own, _SHARED_KEY_VARIABLE, *openai]


def join_commands(commands: tuple[SpecCommand, ...]) -> str:
    """Commands as a phrase: `copydesk serve` and `copydesk simulate`, each in backticks."""
    quoted = [f"`copydesk {command}`" for command in commands]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _parse_counted(text: str, match: re.Match[str], *, at_server: bool) -> PolicySpec:
    kind, count, rest = match.groups()
    form: FormName = "best-of-n" if kind == "best-of" else "icl" if kind == "icl" else "cipher"
    letter, example = ("N", "base@cost_model") if form == "best-of-n" else ("K", "embedded@log.jsonl")
    usage = f"give {FORMS[form].syntax}{'' if form == 'best-of-n' else '.jsonl'}, such as {kind}-3:{example}"
    if _COUNT.fullmatch(count) is None:
        raise InputError(f"{text}: {letter} is {count!r}, not a whole number from 1 to 999999; {usage}")
    before, at, path = rest.rpartition("@")
    if form != "best-of-n":
        if not before:
            raise InputError(f"{text}: the log to learn from is missing; {usage}")
        return PolicySpec(text, form, count=int(count), inner=PolicySpec.parse(before), path=path)
    inner = PolicySpec.parse(rest if at_server or not at else before)
    if inner.form != "model" or not inner.text:
        raise InputError(f"{text}: best-of-N drafts with a model in this process, not with {inner.text!r}; {usage}")
    return PolicySpec(text, form, count=int(count), inner=inner, path=path if at else "")


def _parse_origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; `None` if the URL is malformed."""
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
        return parts.scheme, parts.hostname or "", port
    except ValueError:
        return None
