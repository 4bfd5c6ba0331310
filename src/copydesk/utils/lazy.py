"""Lazy exports of a package (PEP 562): a public name is imported from its module when it is first used.

A package whose modules load torch or other heavy libraries offers its names without loading them:

```python
__all__ = ["load_model"]

if TYPE_CHECKING:
    from copydesk.models.load import load_model
else:
    __getattr__, __dir__ = lazy_exports(__name__, {"copydesk.models.load": ["load_model"]})
```

An exported name must differ from the names of the package's modules: importing a module sets an attribute of that name
on its package, which would replace the export.
"""

import difflib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "peft", "accelerate", "datasets", "trl", "safetensors"), "train"),
    **dict.fromkeys(("fastapi", "uvicorn", "prometheus_client", "aiohttp", "starlette"), "serve"),
    "httpx": "client",
    "matplotlib": "report",
    "openai": "llm",
}
"""The extra of Copydesk that installs an optional package."""


def lazy_exports(
    package: str, exports: Mapping[str, Iterable[str]], extras: Mapping[str, Iterable[str]] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Build a package's `__getattr__` and `__dir__`.

    Args:
        package: the package's `__name__`.
        exports: the public names to import from each module.
        extras: optional packages, such as `torch`, that modules cannot be imported without. Where one is not installed,
            the names of its modules are left out of `__all__` and of `dir`, so that `import *` gives the others.
    """
    modules = {name: module for module, names in exports.items() for name in names}
    missing = {
        module
        for needed, needing in (extras or {}).items()
        if importlib.util.find_spec(needed) is None
        for module in needing
    }

    def load_name(name: str) -> Any:
        if name not in modules:
            raise AttributeError(_describe_unknown(package, name, modules), name=name, obj=sys.modules[package])
        try:
            value = getattr(importlib.import_module(modules[name]), name)
        except ModuleNotFoundError as exc:
            extra = _EXTRAS.get((exc.name or "").partition(".")[0])
            if extra is None:
                raise
            raise ModuleNotFoundError(
                f"{package}.{name} needs {exc.name}, which is not installed: pip install 'copydesk[{extra}]'",
                name=exc.name,
            ) from exc
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    def list_names() -> list[str]:
        present = {name for name, module in modules.items() if module not in missing}
        return sorted(present | set(vars(sys.modules[package])))

    if missing:
        offered = sys.modules[package].__all__
        offered[:] = [name for name in offered if modules.get(name) not in missing]
    return load_name, list_names


def _describe_unknown(package: str, name: str, known: Iterable[str]) -> str:
    text = f"module {package!r} has no attribute {name!r}"
    if not name.startswith("_"):
        if importlib.util.find_spec(f"{package}.{name}") is not None:
            return f"{text}; it is a module: import {package}.{name}"
        if close := difflib.get_close_matches(name, known, n=1):
            return f"{text}; did you mean {close[0]!r}?"
    return text
