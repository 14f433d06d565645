"""`upland serve` that cannot start says why; what it does then is in tests/serve."""

import socket

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with files that are of no use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").write_bytes(b"no model" * 100)
    (tmp_path / "empty").write_text("# nothing\n")
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("model", "options", "code", "words"),
    [
        ("nothing", [], 1, "nothing"),
        ("bad", [], 1, "bad"),
        (None, ["--api-key-file", "empty"], 1, "empty holds no key: write one a line"),
        (None, ["--state", "bad"], 1, "bad cannot keep the states of series"),
        (None, ["--alpha", "2"], 2, "--alpha must lie between 0 and 1"),
    ],
)
def test_it_says_why_it_cannot_start(upland, plant, here, model, options, code, words, workers):
    path = model or plant / "pump.safetensors"
    done = upland("serve", path, "--port", "0", "--workers", workers, *options)
    assert done.code == code
    assert words in done.words


def test_a_port_that_is_taken_is_named(upland, plant):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = upland("serve", plant / "pump.safetensors", "--port", port)
    assert done.code == 1
    assert f"cannot listen at 127.0.0.1, port {port}" in done.words


def test_two_files_of_one_name_are_refused(upland, plant, here):
    path = plant / "pump.safetensors"
    (here / "pump.safetensors").write_bytes(path.read_bytes())
    done = upland("serve", path, "pump.safetensors", "--port", "0")
    assert done.code == 1
    assert "two model files are named pump: rename one" in done.words
    (here / "pump.safetensors").rename("other.safetensors")
    done = upland("serve", path, "other.safetensors", "--port", "0", "--state", "bad")  # a later refusal
    assert "two model files" not in done.words


@pytest.mark.parametrize("value", ["", " ", "# a comment"])
def test_a_variable_of_keys_that_holds_none_is_refused(value, monkeypatch):
    from upland.cli.serving import KEY, _keys

    monkeypatch.setenv(KEY, value)
    with pytest.raises(ValueError, match="is set and holds no key"):
        _keys(None)


@pytest.mark.parametrize("option", ["--timeout", "--drain", "--reload"])
def test_seconds_without_end_are_a_usage_error(upland, tmp_path, option):
    done = upland("serve", tmp_path / "m.safetensors", option, "inf")
    assert done.code == 2
    assert f"{option} is a number of seconds, not inf" in done.words
