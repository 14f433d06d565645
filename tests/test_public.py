"""The public face: what is named is there and the reverse, documented as it is, and cheap to import."""

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
    with pytest.raises(AttributeError, match=r"no attribute 'Detektor'; it offers EnergyDetector"):
        _ = upland.Detektor


def test_import_is_light():
    assert loaded_by("upland; dir(upland)") & (HEAVY | {"rich", "typer"}) == set()
    assert loaded_by("upland.cli.commands") & HEAVY == set()


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
                for method, function in vars(value).items():
                    if not method.startswith("_") and inspect.isfunction(inspect.unwrap(function)):
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


CALLABLES = dict(public_callables())


@pytest.mark.parametrize("name", CALLABLES)
def test_documented_arguments_equal_the_signature(name):
    value = CALLABLES[name]
    documented = documented_arguments(inspect.getdoc(value) or "")
    if documented is not None:
        signature = inspect.signature(value)
        assert documented == [p for p in signature.parameters if p not in ("self", "cls")]


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
