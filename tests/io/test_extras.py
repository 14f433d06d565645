"""Packages that are not installed are one clear line; a fault inside an installed one stays as it is."""

import pytest

from upland.io.extras import needed


def test_a_package_that_is_there_is_returned():
    import json

    assert needed("json", "Documents need json", "json") is json


def test_a_package_that_is_not_there_is_one_line_with_the_command_that_installs_it():
    with pytest.raises(ImportError) as caught:
        needed("nobody.has.this", "The server needs FastAPI", "serve")
    assert str(caught.value) == "The server needs FastAPI: pip install 'upland[serve]'"


def test_a_fault_of_an_installed_package_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import what_it_needs_itself\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_needs_itself"):
        needed("broken_package", "The server needs a package", "serve")
