"""Every option is also read from a variable of the environment, as schedulers and containers set them."""

import json

import pytest

from plant import pump_rows, write_csv
from upland.cli.app import program, variable

OPTIONS = [
    (name, parameter)
    for name, command in program().commands.items()
    for parameter in command.params
    if parameter.param_type_name == "option" and parameter.name != "help"
]


@pytest.mark.parametrize(("name", "parameter"), OPTIONS, ids=lambda it: getattr(it, "name", it))
def test_every_option_has_a_variable_that_is_called_like_it(name, parameter, monkeypatch):
    written = max(parameter.opts, key=len)
    expected = f"UPLAND_{name.upper()}_{written.lstrip('-').replace('-', '_').upper()}"
    assert parameter.envvar == variable(name, written) == expected
    command = program().commands[name]
    found = next(it for it in command.params if it.name == parameter.name)
    value = "2"
    monkeypatch.setenv(expected, value)
    assert found.resolve_envvar_value(None) == value


def test_no_two_options_share_a_variable_and_none_is_that_of_the_program():
    variables = [parameter.envvar for _, parameter in OPTIONS]
    assert len(set(variables)) == len(variables)
    assert "UPLAND_DEBUG" not in variables


@pytest.fixture
def rows(tmp_path):
    return write_csv(tmp_path / "rows.csv", pump_rows(200, 0))


@pytest.fixture
def model(upland, rows, tmp_path):
    done = upland("fit", rows, "-o", tmp_path / "m.safetensors", "-q")
    assert done.code == 0, done.err
    return tmp_path / "m.safetensors"


def test_a_variable_does_what_its_option_does(upland, model, rows, monkeypatch):
    def flagged(*options):
        done = upland("score", model, rows, "--json", *options)
        assert done.code == 0, done.err
        return json.loads(done.out)["flagged"]

    by_option = flagged("--alpha", "0.3")
    assert by_option != flagged()
    monkeypatch.setenv("UPLAND_SCORE_ALPHA", "0.3")
    assert flagged() == by_option
    assert flagged("--alpha", "0.05") != by_option  # what is written goes first


def test_flags_and_repeatable_options_are_read(upland, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("UPLAND_FIT_QUIET", "true")
    monkeypatch.setenv("UPLAND_FIT_IGNORE", "valve running")
    monkeypatch.setenv("UPLAND_FIT_OUTPUT", str(tmp_path / "m.safetensors"))
    done = upland("fit", rows, "--json")
    assert done.code == 0, done.err
    columns = [column["name"] for column in json.loads(done.out)["info"]["columns"]]
    assert columns == ["flow", "pressure"]


@pytest.mark.parametrize("value", ["often", "5", "-1", ""])
def test_a_wrong_value_is_refused_with_the_name_of_the_variable(upland, model, rows, monkeypatch, value):
    monkeypatch.setenv("UPLAND_SCORE_ALPHA", value)
    done = upland("score", model, rows, "--top", "1")
    if not value:  # as if it were not set
        assert done.code == 0
        return
    assert done.code == 2
    assert "What is wrong comes from the environment: UPLAND_SCORE_ALPHA." in done.words
    for written in (("--alpha", "7"), ("--alpha=7",)):
        done = upland("score", model, rows, *written)
        assert done.code == 2
        assert "UPLAND_SCORE_ALPHA" not in done.words


def test_a_usage_error_is_a_document_also_where_a_variable_asks_for_it(upland, model, rows, monkeypatch):
    monkeypatch.setenv("UPLAND_SCORE_JSON", "1")
    done = upland("score", model, rows, "--nope")
    assert done.code == 2
    assert json.loads(done.err)["error"]["exit_code"] == 2
    monkeypatch.setenv("UPLAND_SCORE_JSON", "0")
    assert not upland("score", model, rows, "--nope").err.startswith("{")
