"""The public names of every package: what they are, that each is found, and what importing them loads."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import copydesk

ROOT = Path(copydesk.__file__).parent
PACKAGES = ["copydesk"] + [
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "copydesk.")
    if module.ispkg and "migrations" not in module.name
]
LAZY = [
    name for name in PACKAGES if "lazy_exports" in (ROOT.parent / name.replace(".", "/") / "__init__.py").read_text()
]


def run_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("packages", [["copydesk.cli"], PACKAGES], ids=["cli", "every-package"])
def test_importing_it_loads_nothing_slow(packages: list[str]) -> None:
    slow = {"torch", "transformers", "peft", "pyarrow"}
    assert run_python(f"import sys, {', '.join(packages)}; print(sorted({slow} & set(sys.modules)))") == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_found(package: str) -> None:
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_the_package_itself_offers_what_people_use_most() -> None:
    assert 40 <= len(copydesk.__all__) <= 60
    assert copydesk.EditRecord.__module__ == "copydesk.data.record"
    assert copydesk.train.__module__ == "copydesk.training.train"
    assert callable(copydesk.diagnose_log) and callable(copydesk.evaluate)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_also_a_module_of_its_package(package: str) -> None:
    """Importing `copydesk.diagnose` sets the attribute `diagnose` of `copydesk`, whatever it was before."""
    module = importlib.import_module(package)
    assert not {found.name for found in pkgutil.iter_modules(module.__path__)} & set(module.__all__)


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_the_names_that_are_loaded_lazily(package: str) -> None:
    tree = ast.parse((ROOT.parent / package.replace(".", "/") / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {(node.module, name.name) for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    [call] = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy_exports"
    ]
    lazy = {(module, name) for module, names in ast.literal_eval(call.args[1]).items() for name in names}
    assert seen == lazy
    public = set(importlib.import_module(package).__all__) - {"__version__"}
    assert public == {name for _, name in seen}


@pytest.mark.slow
def test_names_stay_what_they_are_after_their_modules_are_imported() -> None:
    assert (
        run_python(
            "import copydesk, copydesk.diagnose.diagnose, copydesk.training.train, copydesk.offpolicy.evaluate;"
            "print(*(getattr(copydesk, name).__name__ for name in ('diagnose_log', 'train', 'evaluate')))"
        )
        == "diagnose_log train evaluate"
    )


def test_an_unknown_name_suggests_the_one_that_was_meant() -> None:
    with pytest.raises(
        AttributeError, match=r"module 'copydesk' has no attribute 'EditRecrod'; did you mean 'EditRecord'\?"
    ):
        copydesk.EditRecrod  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError, match=r"module 'copydesk' has no attribute 'xyzzy'$"):
        copydesk.xyzzy  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'xyzzy' from 'copydesk'"):
        from copydesk import xyzzy  # type: ignore[attr-defined] # noqa: F401


def test_a_module_that_is_not_imported_yet_is_named_as_one() -> None:
    program = "import copydesk\ntry:\n    copydesk.theory\nexcept AttributeError as exc:\n    print(exc)"
    assert run_python(program).endswith("has no attribute 'theory'; it is a module: import copydesk.theory")


WITHOUT_EXTRAS = """
import sys
sys.modules.update(torch=None, fastapi=None)  # as if they were not installed
import copydesk
"""


def test_import_star_gives_what_works_without_the_extras() -> None:
    names = set(run_python(f"{WITHOUT_EXTRAS}\nfrom copydesk import *\nprint(*sorted(globals()))").split())
    assert {"EditRecord", "EditStore", "LateEnsemble", "TrainConfig", "evaluate", "import_rows"} <= names
    assert not {"train", "load_model", "create_app"} & names
    assert set(copydesk.__all__) - names >= {"train", "load_model", "open_policy", "EditTrainer", "create_app"}


@pytest.mark.parametrize(("name", "needs", "extra"), [("train", "torch", "train"), ("create_app", "fastapi", "serve")])
def test_a_name_that_needs_an_extra_says_which(name: str, needs: str, extra: str) -> None:
    program = (
        f"{WITHOUT_EXTRAS}\ntry:\n    copydesk.{name}\nexcept ModuleNotFoundError as exc:\n    print(exc, exc.name)"
    )
    expected = f"copydesk.{name} needs {needs}, which is not installed: pip install 'copydesk[{extra}]' {needs}"
    assert run_python(program) == expected
    assert run_python(f"{WITHOUT_EXTRAS}\nprint('{name}' in dir(copydesk))") == "False"
