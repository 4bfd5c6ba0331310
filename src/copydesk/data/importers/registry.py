"""The table of importers, the options they add to `copydesk import`, and the mapping of a source's keys to fields."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field, create_model

from copydesk.data.importers.base import Importer, ImportSource, SourceRow
from copydesk.data.importers.files import FILE_IMPORTERS, GUESSED
from copydesk.data.importers.git_edits import GIT
from copydesk.data.importers.langfuse import LANGFUSE
from copydesk.data.importers.openai_chat import OPENAI
from copydesk.data.importers.tensorzero import TENSORZERO
from copydesk.data.mapping import IDENTITY_MAPPING, FieldMapping, guess_mapping
from copydesk.errors import InputError
from copydesk.utils.config import Config, Flag, get_flag

IMPORTERS: dict[str, Importer] = {
    importer.name: importer for importer in (*FILE_IMPORTERS, OPENAI, LANGFUSE, TENSORZERO, GIT)
}
"""Every format that `copydesk import` reads, by the name that `--format` takes. A new one is a module with an
`Importer`, and one entry here."""

if TYPE_CHECKING:
    ImporterName = str
else:
    ImporterName = Literal[tuple(IMPORTERS)]


def build_importer_options(importers: Mapping[str, Importer] = IMPORTERS) -> type[Config]:
    """A settings class with every option of every importer, each `None` until it is given.

    Its fields become the options of `copydesk import`; `open_import_source` checks them against the importer's own
    class. Options of one name are one option, described for each importer.
    """
    fields: dict[str, Any] = {}
    texts: dict[str, dict[str, list[str]]] = {}
    for importer in importers.values():
        for name, field in importer.options.model_fields.items():
            texts.setdefault(name, {}).setdefault((field.description or name).rstrip("."), []).append(importer.name)
            flag, kind = get_flag(name, field), cast(Any, field.annotation)
            usual = flag.default_text or (field.default if isinstance(field.default, str) else None)
            shown = Flag(*flag.names, default_text=usual, panel=flag.panel)
            parts = [f"{text} ({', '.join(names)})" for text, names in texts[name].items()]
            description = "; ".join([parts[0], *(part[0].lower() + part[1:] for part in parts[1:])])
            fields[name] = (Annotated[kind | None, shown, Field(description=f"{description}.")], None)
    return create_model("ImporterOptions", __base__=Config, **fields)


def open_import_source(
    given: str, name: str | None = None, options: Mapping[str, Any] | None = None, *, rejected: Path | None = None
) -> ImportSource:
    """Open a source with the importer of that name.

    Args:
        given: what the user named: a path, a URL, a hub id, a folder, or `-`.
        name: of the importer; without one the format of the file is found out.
        options: of the importer, by field name; those that are `None` or empty count as not given.
        rejected: the file for rejected rows, where it is not the source's own.

    Raises:
        InputError: there is no such source or importer, its format is not known, or an option does not go with it.
    """
    if name is not None and name not in IMPORTERS:
        raise InputError(f"--format {name}: there is no such importer; choose from {', '.join(IMPORTERS)}")
    importer = GUESSED if name is None else IMPORTERS[name]
    values = {option: value for option, value in (options or {}).items() if value}
    for option in values.keys() - importer.options.model_fields.keys():
        owners = [one for one in IMPORTERS.values() if option in one.options.model_fields]
        if not owners:
            raise InputError(f"there is no importer with an option {option!r}")
        flag = get_flag(option, owners[0].options.model_fields[option]).names[0]
        names = " or ".join(one.name for one in owners)
        raise InputError(f"{flag} goes with --format {names}; leave it out, or add that")
    source = importer.open(given, importer.options(**values))
    return source if rejected is None else replace(source, rejected_path=rejected)


_MAPPING_PANEL = "Which key is which field (KEY, a path such as meta.user, or none)"


_KEY = Flag(panel=_MAPPING_PANEL, default_text="guessed")


class MappingOptions(Config):
    """The keys of a row's fields, where they are named rather than guessed."""

    context: Annotated[str | None, _KEY, Field(description="Key of the context: what was asked.")] = None
    response: Annotated[str | None, _KEY, Field(description="Key of the response: what was answered.")] = None
    edit: Annotated[str | None, _KEY, Field(description="Key of the edit: the person's version of the response.")] = (
        None
    )
    user: Annotated[str | None, _KEY, Field(description="Key of the user who edited.")] = None
    policy: Annotated[str | None, _KEY, Field(description="Key of the policy that answered.")] = None
    propensity: Annotated[
        str | None, _KEY, Field(description="Key of the probability with which that policy was chosen.")
    ] = None
    created_at: Annotated[str | None, _KEY, Field(description="Key of the timestamp.")] = None
    id: Annotated[str | None, _KEY, Field(description="Key of the row's id.")] = None

    @property
    def keys(self) -> dict[str, str]:
        """The keys that were named, by field."""
        named = {field: getattr(self, field) for field in type(self).model_fields}
        return {field: key for field, key in named.items() if key is not None}


def choose_mapping(source: ImportSource, sample: Sequence[SourceRow], keys: Mapping[str, str]) -> FieldMapping:
    """The mapping of a source's keys to fields: as named, else guessed from the first rows.

    Raises:
        InputError: there are no rows, none can be read, or a field cannot be found.
    """
    if not sample:
        raise InputError(f"{source.name}: there are no rows in it")
    if source.has_record_fields and not keys:
        return IDENTITY_MAPPING
    fields = [row.fields for row in sample if row.fields is not None]
    if not fields and sample[0].error:
        raise InputError(f"{source.name}:{sample[0].number}: {sample[0].error} (nor could the rows after it be read)")
    try:
        mapping = guess_mapping(fields, keys, texts=source.all_text)
    except InputError as exc:
        raise InputError(f"{source.name}: {exc}") from None
    if "edit" not in mapping.paths and "edit" not in keys:
        others = ", ".join(map(repr, mapping.metadata_keys)) or "no others"
        raise InputError(
            f"{source.name}: no key could be the edit; name it with --edit KEY (there are {others}), or use --edit "
            "none where every row is still pending"
        )
    return mapping
