"""Every example runs as a reader would run it, without a warning, and stays short."""

from pathlib import Path

import pytest

from programs import run_python

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    done = run_python(path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Warning" not in done.stderr
