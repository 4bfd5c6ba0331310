"""Parse policy specs, and bind each API key to the one origin that it may be sent to.

A policy spec is the SPEC of `--policy NAME=SPEC`. `FORMS` lists the forms and the commands that take each; the
documentation (docs/reference/policy-specs.md) repeats it, and a test compares the two.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from copydesk.errors import InputError

FormName = Literal["model", "server", "vllm", "best-of-n", "icl", "cipher"]
SpecCommand = Literal["serve", "policies add", "simulate", "bench --user", "evaluate"]

_SHARED_KEY_VARIABLE = "COPYDESK_UPSTREAM_KEY"
_OPENAI_KEY_VARIABLE = "OPENAI_API_KEY"

_URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?(/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?"
)
_HOST_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"[!-~]+")
_NAMES_SERVER = re.compile(r"@https?://", re.IGNORECASE)
_NOT_PRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

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
        if _NOT_PRINTABLE.search(text):
            raise InputError(f"{text!a}: a policy's spec holds a control character; remove it")
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
            Origin.of(server[2])
            return cls(text, "vllm", server[1].removeprefix(_VLLM_PREFIX), server[2])
        if server is not None:
            Origin.of(server[2])
            return cls(text, "server", server[1], server[2])
        if _NAMES_SERVER.search(text):
            raise InputError(
                "a policy's server has an address with a user name, a password or a space; write MODEL@URL with a URL "
                "such as http://127.0.0.1:8000/v1, and give its key in an environment variable"
            )
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

    @property
    def origin(self) -> "Origin | None":
        """The origin of the server that this spec, or its inner spec, names."""
        if self.inner is not None:
            return self.inner.origin
        return None if self.url is None else Origin.of(self.url)


class Origin(NamedTuple):
    """A web origin, to which an API key is bound. Equal origins reach the same server; the host is in lower case."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        usual = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of a URL.

        Raises:
            InputError: it is not a plain URL: scheme, host in ASCII, port and path, no more.
        """
        match = _URL.fullmatch(url)
        host = None if match is None else _normalize_host(match[2])
        port = 0 if match is None else int(match[3] or (443 if match[1] == "https" else 80))
        if match is None or host is None or not 1 <= port <= 65535:
            shown = "a server" if "@" in url else ascii(re.split("[?#]", url)[0])  # the rest may be a password
            raise InputError(f"{shown}: not the address of a server; give one such as http://127.0.0.1:8000/v1")
        return cls(match[1], host, port)


class UpstreamKeys:
    """The API keys of the servers that policies name. Each is bound to one origin, once, and is sent to no other.

    The key of a policy is the first of these that is set:

    1. `COPYDESK_KEY_` and the policy's name in capitals, with `_` for every character but A-Z and 0-9: only for a
       policy of this command, and only for the origin of its spec.
    2. The variable that `upstreams` gives for the origin.
    3. `OPENAI_API_KEY`, for https://api.openai.com.
    4. `COPYDESK_UPSTREAM_KEY`, for the only origin that the command names and that has no other key.

    Args:
        policies: the names and specs of the policies that the command is given.
        upstreams: further origins, each as `ORIGIN` or `ORIGIN=VARIABLE`.
        environ: the environment, such as `os.environ`.

    Raises:
        InputError: two policies at servers would read one variable, an origin or a variable is malformed, a variable is
            not set, a key holds a character that no HTTP header may hold, or `COPYDESK_UPSTREAM_KEY` could belong to
            several origins.
    """

    def __init__(
        self,
        policies: Mapping[str, str] | Iterable[tuple[str, str]],
        upstreams: Iterable[str],
        environ: Mapping[str, str],
    ) -> None:
        self._environ = environ
        self._own: dict[tuple[str, Origin], str] = {}
        self._by_origin: dict[Origin, str] = {}
        named: dict[Origin, None] = {}
        without_own: dict[Origin, None] = {}
        known: dict[str, tuple[str, Origin]] = {}
        pairs = policies.items() if isinstance(policies, Mapping) else policies
        for name, spec in pairs:
            origin = PolicySpec.parse(spec).origin
            if origin is None:
                continue
            named[origin] = None
            variable = get_key_variable(name)
            if known.setdefault(variable, (name, origin)) != (name, origin):
                raise _make_collision_error(name, known[variable][0])
            if key := self._read(variable):
                self._own[name, origin] = key
            else:
                without_own[origin] = None
        self._bind_upstreams(upstreams, named, without_own)
        if key := self._read(_OPENAI_KEY_VARIABLE):
            self._by_origin.setdefault(_OPENAI_ORIGIN, key)
        self._bind_shared(without_own)
        self._named = frozenset(named)

    def find(self, name: str, url: str) -> str | None:
        """The key that is sent for a policy to a server; `None` if there is none."""
        origin = Origin.of(url)
        return self._own.get((name, origin)) or self._by_origin.get(origin)

    def find_unsent(self, name: str, url: str) -> str | None:
        """The variable of a policy that is set and not sent to its server, since the policy is not of this command."""
        variable = get_key_variable(name)
        sent = (name, Origin.of(url)) in self._own
        return None if sent or not self._environ.get(variable, "").strip() else variable

    def check_allowed(self, spec: str) -> None:
        """Refuse a spec whose server is at an origin that the command does not name.

        Raises:
            InputError: it is; the message says how to allow it.
        """
        origin = PolicySpec.parse(spec).origin
        if origin is not None and origin not in self._named:
            raise InputError(
                f"{origin} is not among the servers that this gateway may ask; start it with --upstream {origin}, or "
                f"--upstream {origin}=VARIABLE with the variable that holds the server's key"
            )

    def _bind_upstreams(
        self, upstreams: Iterable[str], named: dict[Origin, None], without_own: dict[Origin, None]
    ) -> None:
        variables: dict[Origin, str] = {}
        for word in upstreams:
            url, _, variable = word.partition("=")
            try:
                origin = Origin.of(url.rstrip("/"))
            except InputError as exc:
                raise InputError(f"--upstream {exc}") from None
            if url.rstrip("/").count("/") > 2:
                raise InputError(f"--upstream {url}: write only scheme, host and port: {origin}")
            named[origin] = None
            if not variable:
                without_own[origin] = None
                continue
            key = self._read(variable) if _VARIABLE.fullmatch(variable) else None
            if key is None:
                shown = f" {variable}" if variable.isupper() and _VARIABLE.fullmatch(variable) else ""
                raise InputError(
                    f"--upstream {origin}: there is no environment variable{shown} with a key; set it, and write its "
                    "name, never the key itself"
                )
            if variables.setdefault(origin, variable) != variable:
                raise InputError(f"--upstream {origin}: two variables are given for its key; give one")
            self._by_origin[origin] = key
        self._shared_is_bound = _SHARED_KEY_VARIABLE in variables.values()

    def _bind_shared(self, without_own: dict[Origin, None]) -> None:
        if self._shared_is_bound or not (key := self._read(_SHARED_KEY_VARIABLE)):
            return
        candidates = [origin for origin in without_own if origin not in self._by_origin]
        if len(candidates) > 1:
            raise InputError(
                f"{_SHARED_KEY_VARIABLE} is the key of one server, and {' and '.join(map(str, candidates))} have no "
                "key of their own; unset it and give each policy a variable, such as "
                f"{get_key_variable('name')} for the policy `name`, or bind it with `copydesk serve --upstream "
                f"{candidates[0]}={_SHARED_KEY_VARIABLE}`"
            )
        for origin in candidates:
            self._by_origin[origin] = key

    def _read(self, variable: str) -> str | None:
        key = self._environ.get(variable, "").strip()
        if key and not _KEY.fullmatch(key):
            raise InputError(f"the server's key in {variable} holds a space or a letter that no key has; check it")
        return key or None


def get_key_variable(name: str) -> str:
    """The environment variable that may hold the API key of a policy's server."""
    return "COPYDESK_KEY_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def list_api_key_variables(name: str, url: str) -> list[str]:
    """The environment variables that may hold the API key of a policy's server, for messages; see `UpstreamKeys`."""
    openai = [_OPENAI_KEY_VARIABLE] if Origin.of(url) == _OPENAI_ORIGIN else []
    return [get_key_variable(name), *openai, _SHARED_KEY_VARIABLE]


def check_key_variable(name: str, spec: str, known_specs: Mapping[str, str]) -> None:
    """Refuse a policy at a server whose key variable is that of another known policy at a server.

    Raises:
        InputError: it is.
    """
    if not _names_server(spec):
        return
    variable = get_key_variable(name)
    for other, other_spec in known_specs.items():
        if other != name and get_key_variable(other) == variable and _names_server(other_spec):
            raise _make_collision_error(name, other)


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


def _normalize_host(host: str) -> str | None:
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None
    host = host.lower()
    return host if len(host) <= 253 and all(map(_HOST_LABEL.fullmatch, host.split("."))) else None


def _names_server(spec: str) -> bool:
    """Whether a spec names a server; one that an older release wrote and that is refused now may."""
    return _NAMES_SERVER.search(spec) is not None


def _make_collision_error(name: str, other: str) -> InputError:
    return InputError(
        f"{name!r} and {other!r} are policies at servers that would both read their key from {get_key_variable(name)}; "
        "choose another name"
    )


_OPENAI_ORIGIN = Origin("https", "api.openai.com", 443)
