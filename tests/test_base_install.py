"""upland without its extras: what the base offers works, what needs more says in one line what to install.

Packages that the base does not need are installed for the other tests; here their import is refused, as if
they were not.
"""

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import upland
from normals import as_csv, as_parquet, fitted, mixed
from programs import run_python

LOCKED = Path(__file__).parent.parent / "requirements" / "runtime.txt"
BASE = {
    "upland",
    "torch",
    *re.findall(r"^([a-z0-9-]+)==", LOCKED.read_text("utf-8"), re.M),
}
OTHERS = sorted(
    module
    for module, homes in packages_distributions().items()
    if not {home.lower().replace("_", "-").replace(".", "-") for home in homes} & BASE
)
"""Modules of the packages that the base does not need."""

ALONE = f"""
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OTHERS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refused())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    as_csv(mixed(300), folder)
    as_parquet(mixed(300), folder)
    upland.save(fitted(), folder / "numbers.safetensors")
    return folder


def alone(code, folder, *arguments):
    return run_python("-c", ALONE + code, *arguments, cwd=folder)


COMMAND = "from upland.cli import main; main()"


def test_the_extras_are_among_what_is_refused():
    assert {"ray", "fastapi", "uvicorn", "onnx", "onnxruntime", "mlflow", "pandas", "polars", "PIL"} <= {
        *OTHERS
    }
    assert not {"numpy", "torch", "sklearn", "pyarrow", "narwhals", "rich", "typer", "scipy"} & {*OTHERS}


def test_every_public_name_loads(folder):
    done = alone("import upland; print([getattr(upland, name) for name in upland.__all__] != [])", folder)
    assert done.stdout.strip() == "True", done.stderr


def test_a_table_is_fitted_scored_and_tested(folder):
    for line in (
        "fit rows.csv -o model.safetensors --quiet",
        "score model.safetensors rows.csv -o scored.parquet --why",
        "info model.safetensors --json",
    ):
        done = alone(COMMAND, folder, *line.split())
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("serve numbers.safetensors", "serve"),
        ("export numbers.safetensors -o numbers.onnx", "onnx"),
        ("score numbers.safetensors rows.parquet -o out --engine ray", "ray"),
        ("groups numbers.safetensors rows.parquet --by site -o out.parquet --engine ray", "ray"),
        ("fit rows.parquet -o other.safetensors --engine ray", "ray"),
    ],
)
def test_a_command_that_needs_more_says_what_to_install_in_one_line(folder, line, extra):
    done = alone(COMMAND, folder, *line.split())
    assert done.returncode == 1, done.stderr
    words = " ".join(done.stderr.split())
    assert f"pip install 'upland[{extra}]'" in words
    assert words.startswith("error: ")
    assert len(words) < 200


def test_mlflow_that_is_not_installed_is_one_line(folder):
    done = alone("import upland.mlflow; upland.mlflow.load_model('runs:/a/b')", folder)
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: ")
    assert "pip install 'upland[mlflow]'" in done.stderr
