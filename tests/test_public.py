"""The public names: they exist, are documented with arguments and example, and are cheap to import."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import upland
from programs import run_python

HEAVY = {"torch", "pandas", "polars", "pyarrow", "sklearn", "scipy", "numpy", "narwhals"}
SOURCE = Path(upland.__file__).parent
MODULES = sorted(
    ".".join(("upland", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
)


def test_all_equals_what_is_visible():
    for name in upland.__all__:
        getattr(upland, name)
    visible = {
        name
        for name, value in vars(upland).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    visible -= {"annotations", "import_module", "TYPE_CHECKING"}
    assert visible | {"__version__"} == set(upland.__all__)
    assert dir(upland) == sorted(upland.__all__)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(upland.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == upland._HOMES
    assert set(typed) | {"__version__"} == set(upland.__all__)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        AttributeError, match=r"no attribute 'Detektor'; it offers Alarms, Counterfactual, Decision, En"
    ):
        _ = upland.Detektor


def test_import_is_light():
    assert loaded_by("upland; dir(upland)") & (HEAVY | {"rich", "typer"}) == set()
    assert loaded_by("upland.catalogue") & (HEAVY | {"rich", "typer"}) == set()
    assert loaded_by("upland.cli.program") & HEAVY == set()


def loaded_by(module):
    done = run_python("-c", f"import sys, {module}; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def public_callables():
    """Every public function, class and method that upland defines, by its full name."""
    for module_name in MODULES:
        module = import_module(module_name)
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module_name:
                continue
            if inspect.isclass(value):
                yield f"{module_name}.{name}", value
                for method in vars(value):
                    function = getattr(value, method)
                    if not method.startswith("_") and inspect.isroutine(function):
                        yield f"{module_name}.{name}.{method}", function
            elif inspect.isfunction(value):
                yield f"{module_name}.{name}", value


def documented_arguments(docstring):
    """Names under a Google-style `Args:` heading, in order; None where there is no such heading."""
    found = re.search(r"^Args:\n((?:[ ].*\n?|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    if found is None:
        return None
    names = re.findall(r"^    ([*\w, ]+?)(?: \(.*?\))?:", found.group(1), re.MULTILINE)
    return [name.strip("* ") for group in names for name in group.split(",")]


def test_documented_arguments_equal_the_signature():
    wrong = {}
    for name, value in public_callables():
        documented = documented_arguments(inspect.getdoc(value) or "")
        if documented is not None:
            found = [p for p in inspect.signature(value).parameters if p not in ("self", "cls")]
            if documented != found:
                wrong[name] = (documented, found)
    assert wrong == {}


@pytest.mark.parametrize("name", [name for name in upland.__all__ if name != "__version__"])
def test_public_names_are_documented_with_an_example(name):
    value = getattr(upland, name)
    docstring = inspect.getdoc(value)
    assert ">>>" in docstring, f"{name} shows no example"
    if inspect.signature(value).parameters and not inspect.isclass(value):
        assert documented_arguments(docstring), f"{name} does not explain its arguments"


def test_the_changelog_knows_this_version():
    changelog = SOURCE.parent.parent / "CHANGELOG.md"
    assert f"## [{upland.__version__}]" in changelog.read_text(encoding="utf-8")
