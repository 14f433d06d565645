"""The floors of the house, as a literal list: imports point down, lazy ones and type-checking ones too."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "upland"

FLOORS = [
    [
        *("data.schema", "data.encodings", "data.values", "data.frames", "data.learning"),
        *("data.matching", "data.plans", "data.tables"),
        *("data.encoder", "data.vocabularies"),
        *("data.files", "data.columnar", "data.csvfile", "data.sinks", "data.sources", "data.memory"),
        *("data.arrays", "data.longframes", "data.sequences", "data.steps", "data.windows"),
        *("data.arrayfiles", "data.imagearrays", "data.imagefiles", "data.imagestatistics", "data.pixels"),
        *("data.pictures", "data.imagerows", "data.images", "data.heatmaps"),
        "tensorfile",
    ],
    [
        *("models.base", "models.nets", "models.energies", "models.recurrent"),
        *("models.views", "models.kernel_prior", "models.multiscale"),
        *("models.convolutional", "models.bijections", "models.splines", "models.couplings"),
        *("models.flow", "models.glow", "models.glowlevels", "models.vae", "models.threads", "adam"),
    ],
    [
        *("objectives", "progress", "training", "criteria.points", "criteria.steps"),
        *("criteria.gaussians", "criteria.splits", "calibration", "nulls"),
    ],
    [
        *("criteria.evidence", "criteria.channels", "criteria.shares", "criteria.groups"),
        *("criteria.baselines", "criteria.combined", "manipulations"),
    ],
    [
        *("arguments", "fitting", "checkpoints", "kinds", "plans", "sequencing", "holdout"),
        *("information", "stream", "judges", "groupreasons", "grouplabels", "groupcontract", "attribution"),
        *("results", "contract", "detection", "detectors", "latentdetectors"),
    ],
    ["explanation", "persistence", "pyod"],
    [
        *(
            "apps.console",
            "apps.options",
            "apps.families",
            "apps.words",
            "apps.verdicts",
            "apps.inputs",
            "apps.streaming",
        ),
        *("apps.episodes", "apps.series", "apps.gallery", "apps.views", "apps.scoring"),
        *("apps.groups", "apps.groupviews"),
        *("apps.showing", "apps.biopsies", "apps.lots", "apps.digits", "apps.pumps"),
    ],
    ["apps.cli", "apps.demo"],
]
SEPARATE = {3, 8}  # floors whose rooms do not import each other
MAY_IMPORT_BESIDE = {"apps.cli"}  # the one leaf that opens the others, lazily

FLOOR = {room: number for number, rooms in enumerate(FLOORS, start=1) for room in rooms}
MODULES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in SOURCE.rglob("*.py")}
ROOMS = sorted(name for name in MODULES if not name.endswith("__init__"))
TEXT = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}


@cache
def tree(name):
    return ast.parse(TEXT[name])


def dotted(node):
    """Every module or name that an import statement asks for, with its dots."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, f"relative import on line {node.lineno}: write the whole path"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def imports(name, nodes=None):
    nodes = ast.walk(tree(name)) if nodes is None else nodes
    return [full for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for full in dotted(node)]


def rooms_asked_for(names):
    """The rooms of upland among imported names; a package itself is no room, its `__version__` is free."""
    inside = [full.removeprefix("upland.") for full in names if full.split(".")[0] == "upland"]
    found = set()
    for full in inside:
        homes = [room for room in ROOMS if full == room or full.startswith(f"{room}.")]
        assert homes or full == "__version__", f"'{full}' is no room: import from the module that defines it"
        found.update(homes)
    return found


def test_every_module_stands_on_a_floor_and_every_room_exists():
    assert sorted(FLOOR) == ROOMS


@pytest.mark.parametrize("name", ROOMS)
def test_imports_point_down(name):
    for other in rooms_asked_for(imports(name)) - {name}:
        assert FLOOR[other] <= FLOOR[name], (
            f"{name} (floor {FLOOR[name]}) imports {other} (floor {FLOOR[other]})"
        )
        beside = FLOOR[other] == FLOOR[name] and FLOOR[name] in SEPARATE
        assert not beside or name in MAY_IMPORT_BESIDE, f"{name} imports its sibling {other}"


@pytest.mark.parametrize("name", ROOMS)
def test_no_import_cycle(name):
    reached, waiting = set(), [name]
    while waiting:
        for other in rooms_asked_for(imports(waiting.pop())) - reached:
            assert other != name, f"{name} imports itself by a detour"
            reached.add(other)
            waiting.append(other)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("models")])
def test_models_use_torch_and_nothing_heavy_beside_it(name):
    outside = {full.split(".")[0] for full in imports(name)}
    assert outside <= {*sys.stdlib_module_names, "torch", "upland"} - {
        "io",
        "os",
        "pathlib",
        "shutil",
        "tempfile",
    }


@pytest.mark.parametrize("name", [name for name in MODULES if FLOOR.get(name) == 1])
def test_the_ground_floor_knows_no_torch_and_no_one_frame_library(name):
    assert {full.split(".")[0] for full in imports(name)}.isdisjoint({"torch", "sklearn", "pandas", "polars"})


def test_the_command_line_opens_quickly():
    allowed = {*sys.stdlib_module_names, "rich", "typer", "upland"}
    at_the_top = imports("apps.cli", tree("apps.cli").body)
    assert {full.split(".")[0] for full in at_the_top} <= allowed
    assert rooms_asked_for(at_the_top) <= {"apps.console", "apps.options"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_files_and_functions_stay_readable(name):
    lines = TEXT[name].count("\n")
    assert lines <= 400, f"{name} has {lines} lines: it asks for a better cut"
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            assert length <= 60, f"{name}.{node.name} has {length} lines: it asks for a better cut"


def docstring_lines(node):
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"\bhasattr\(", "ask for a type, not for an attribute"),
        (r"^\s*(import|from) (pickle|joblib|dill|cloudpickle|shelve|marshal)\b", "nothing is ever unpickled"),
        (r"torch\.(load|save)\(|joblib\.load|pickle\.loads?", "nothing is ever unpickled"),
        (r"torch\.manual_seed|random\.seed\(", "randomness is an argument"),
    ],
)
def test_what_the_source_never_does(pattern, why):
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in TEXT.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found, f"{why}: {found}"


def test_the_sign_is_flipped_on_one_line():
    flips = [
        f"{name}:{node.lineno}"
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and "anomaly_score" in ast.dump(node.operand)
    ]
    assert len(flips) == 1, flips
    assert flips[0].startswith("contract")
