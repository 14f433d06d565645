"""The order of the packages, as a literal list, and what the source never does."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import upland

SOURCE = Path(__file__).parent.parent / "src" / "upland"

ORDER = [
    ["io"],
    ["data"],
    ["models"],
    ["training"],
    ["calibration"],
    ["groups"],
    ["criteria"],
    ["detectors"],
    ["counterfactuals"],
    ["explanation", "persistence", "adapters"],
    ["scoring"],
    ["distributed", "export", "mlflow", "reporting", "serve", "watch"],
    ["cli"],
]
"""Imports point to packages further up; packages on one line do not import each other."""
BESIDE = {"catalogue", "__version__"}
"""What anyone may import."""

RANK = {package: number for number, packages in enumerate(ORDER) for package in packages}
TEXT = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path.read_text(
        "utf-8"
    )
    for path in sorted(SOURCE.rglob("*.py"))
}


@cache
def tree(name):
    return ast.parse(TEXT[name])


def imported(name, nodes=None):
    """Every module or name that a file imports anywhere: at the top, in a function, for type checkers."""
    found = []
    for node in ast.walk(tree(name)) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: write the whole path of a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def files_imported(name):
    """The files of upland among what a file imports."""
    inside = [full.removeprefix("upland.") for full in imported(name) if full.startswith("upland.")]
    homes = {full: [file for file in TEXT if full == file or full.startswith(f"{file}.")] for full in inside}
    return {max(files, key=len, default=full) for full, files in homes.items()}


def package(file):
    return file.split(".")[0]


def in_packages(*names):
    return [file for file in TEXT if package(file) in names]


def test_every_file_is_in_a_package_of_the_order():
    assert {package(file) for file in TEXT} == {*RANK, "catalogue", "__init__"}
    assert len([path for path in SOURCE.iterdir() if path.name != "__pycache__"]) <= 23


def test_imports_point_to_earlier_packages():
    wrong = [
        f"{file} imports {other}"
        for file in TEXT
        if file != "__init__"
        for other in files_imported(file) - BESIDE
        if package(other) != package(file) and not RANK[package(other)] < RANK[package(file)]
    ]
    assert wrong == []


def test_the_catalogue_imports_nothing_of_upland():
    assert files_imported("catalogue") == set()


def test_no_file_imports_itself_by_a_detour():
    done, path = set(), []

    def visit(file):
        assert file not in path, " -> ".join([*path[path.index(file) :], file])
        if file not in done:
            path.append(file)
            for other in files_imported(file) & TEXT.keys():
                visit(other)
            path.pop()
            done.add(file)

    for file in TEXT:
        visit(file)


def test_models_use_torch_alone():
    """But for the module that sets threads, those of linear algebra below NumPy among them."""
    no_files = {"io", "os", "pathlib", "shutil", "tempfile"}
    allowed = {*sys.stdlib_module_names, "torch", "upland"} - no_files
    for file in in_packages("models"):
        own = {"threadpoolctl"} if file == "models.process" else set()
        assert {full.split(".")[0] for full in imported(file)} <= allowed | own, file


def test_files_and_data_need_no_torch_and_no_frame_library():
    for file in in_packages("io", "data"):
        tops = {full.split(".")[0] for full in imported(file)}
        assert tops.isdisjoint({"torch", "sklearn", "pandas", "polars"}), file


def test_files_and_functions_stay_readable():
    long = [file for file, text in TEXT.items() if text.count("\n") > 400]
    for file in TEXT:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
                long += [f"{file}:{node.name}"] * (length > 60)
    assert long == [], "these ask for a better cut"


def docstring_lines(node):
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


NEVER = {
    r"get_default_dtype|get_default_tensor|set_default": "the program's own default is not read or changed",
    r"\bhasattr\(": "ask for a type, not for an attribute",
    r"\bvars\(self\)|\bself\.__dict__\.get": "name the attribute",
    r"\bWeak(Key|Value)Dictionary\b": "no module-global cache",
    r"^(global|\s+global) ": "no state in a module",
    r"^@(functools\.)?(lru_)?cache\b": "no module-global cache",
    r"^\s*(import|from) (pickle|joblib|dill|cloudpickle|shelve|marshal)\b": "nothing is ever unpickled",
    r"torch\.save\(|joblib\.load|pickle\.loads?": "nothing is ever unpickled",
    r"torch\.load\((?!.*weights_only=True)": "nothing is ever unpickled",
    r"\btorch\.manual_seed|\brandom\.seed\(|\bnp\.random\.(?!default_rng)[a-z]": "randomness is an argument",
}


@pytest.mark.parametrize("pattern", NEVER)
def test_what_the_source_never_does(pattern):
    found = [
        f"{file}:{number}: {line.strip()}"
        for file, text in TEXT.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found, f"{NEVER[pattern]}: {found}"


IN_THE_DEFAULT_DTYPE = {
    *("zeros", "ones", "empty", "full", "tensor", "eye", "rand", "randn", "linspace", "logspace"),
    *("Linear", "Bilinear", "Conv1d", "Conv2d", "ConvTranspose2d", "LayerNorm", "BatchNorm1d", "BatchNorm2d"),
    *("GroupNorm", "GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "Embedding", "PReLU", "MultiheadAttention"),
}
"""What PyTorch makes in the default dtype, which is the program's."""


def test_every_tensor_is_made_with_a_dtype_that_is_named():
    wrong = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file in TEXT
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("torch", "nn")
        and node.func.attr in IN_THE_DEFAULT_DTYPE
        and "dtype" not in [keyword.arg for keyword in node.keywords]
    ]
    assert wrong == []


SHARED = {
    "export.tracing": {"NOTES"},
    "io.locks": {"WARNINGS"},
    "models.process": {"THREADS", "PRECISION", "SHORTENED", "BLAS_THREADS"},
    "scoring.loaded": {"OF_THIS_PROCESS"},
}
"""What a process shares, each behind a lock: the filters of warnings, levels of logs, settings of PyTorch and
of linear algebra, and the one registry, of detectors by the digest of their file (docs/decisions/0017)."""


def made_in_modules():
    """The objects of upland's own classes that change, made at the top of a module: file to names."""
    changing = {
        node.name
        for file in TEXT
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ClassDef)
        and any(
            isinstance(target, ast.Attribute)
            and isinstance(target.ctx, ast.Store)
            and isinstance(target.value, ast.Name)
            and target.value.id == "self"
            for target in ast.walk(node)
        )
    }
    found = {}
    for file in TEXT:
        for node in tree(file).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                function = node.value.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if name in changing:
                    found.setdefault(file, set()).update(target.id for target in targets)
    return found


def test_a_process_shares_what_is_named_here_and_nothing_else():
    assert made_in_modules() == SHARED


def test_filters_of_warnings_are_changed_behind_the_lock():
    """Or by the command line and by a task of Ray, each of which is a process of its own."""
    files = {
        file
        for file, text in TEXT.items()
        if re.search(r"catch_warnings|\bshowwarning|warnings\.filters", text)
    }
    assert {file for file in files if package(file) not in ("cli", "distributed")} == {"io.locks"}


CHANGES = ("append", "extend", "insert", "pop", "update", "setdefault", "add", "clear")


def test_no_container_in_a_module_is_changed_by_its_functions():
    """Which would be a cache, or state that two detectors share."""
    wrong = []
    for file in TEXT:
        names = {
            target.id
            for node in tree(file).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree(file)):
            changed = None
            if isinstance(node, ast.Subscript | ast.Attribute):
                stored = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
                called = isinstance(node, ast.Attribute) and node.attr in CHANGES
                changed = node.value if stored or called else None
            if isinstance(changed, ast.Name) and changed.id in names:
                wrong.append(f"{file}:{node.lineno} changes {changed.id}")
    assert wrong == []


def test_the_sign_is_flipped_on_one_line():
    flips = [
        f"{file}:{node.lineno}"
        for file in TEXT
        for node in ast.walk(tree(file))
        if isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and "anomaly_score" in ast.dump(node.operand)
    ]
    assert len(flips) == 1, flips
    assert flips[0].startswith("detectors.contract")


def files_passed(call):
    """The files of upland of which a function runs during a call."""
    home, found = f"{Path(upland.__file__).parent}/", set()

    def watch(frame, event, _):
        code = frame.f_code
        runs_a_function = event == "call" and code.co_flags & 1  # no body of a module or a class
        if runs_a_function and code.co_filename.startswith(home):
            found.add(code.co_filename.removeprefix(home))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
    return found


def test_a_score_of_an_array_passes_few_files():
    rows = np.random.default_rng(0).normal(size=(100, 3))
    names = ("adaptive_kernel", "conditional", "missing_mass", "recurring_values")
    parts = {f"models/{name}.py" for name in names}  # a part is a file, and what it looks up
    for arguments in ({}, {"energy": "multiscale", "epochs": 1}):
        detector = upland.EnergyDetector(random_state=0, progress=False, **arguments).fit(rows)
        passed = files_passed(lambda detector=detector: detector.anomaly_score(rows)) - parts
        assert len(passed) <= 12, sorted(passed)


def test_no_two_test_files_have_one_name():
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
