"""Reasons are computed where somebody reads them, and nowhere else."""

import pytest

from upland import explanation
from upland.groups.reasons import Reasons

DATA = {
    "rows": ("plant", "pump.safetensors", "new.csv"),
    "steps": ("series", "steps.safetensors", "new.csv"),
    "sequences": ("windows", "model.safetensors", "new.npz"),
    "images": ("pictures", "model.safetensors", "new.npy"),
}
UNREAD = [("-q",), ("-o",), ("-q", "-o"), ("-q", "--fail-on-anomaly"), ("-q", "-o", "--control", "fdr")]
READ = [(), ("--json",), ("-q", "-o", "--why"), ("-o", "--why"), ("-o", "--json"), ("-q", "--json")]


def calls_of(monkeypatch, home, name):
    """A list that grows with each call of a function."""
    calls, real = [], getattr(home, name)

    def counted(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(home, name, counted)
    return calls


def options(given, target):
    return [part for option in given for part in ((option, target) if option == "-o" else (option,))]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(
    ("given", "read"), [*((given, False) for given in UNREAD), *((given, True) for given in READ)]
)
def test_what_is_not_shown_is_not_explained(data, given, read, request, tmp_path, upland, monkeypatch):
    fixture, model, new = DATA[data]
    folder = request.getfixturevalue(fixture)
    calls = calls_of(monkeypatch, explanation, "explain")
    done = upland("score", folder / model, folder / new, *options(given, tmp_path / "s.csv"))
    assert done.code in (0, 10), done.err
    assert bool(calls) == read


def test_heat_maps_are_explanations(pictures, tmp_path, upland, monkeypatch):
    calls = calls_of(monkeypatch, explanation, "explain")
    asked = ("score", pictures / "model.safetensors", pictures / "new.npy", "-q", "--maps", tmp_path / "h")
    assert upland(*asked).code == 0
    assert calls


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (("-q",), False),
        (("-q", "--fail-on-anomaly"), False),
        ((), True),
        (("--json",), True),
        (("-o",), True),
    ],
)
def test_groups_are_explained_where_somebody_reads_it(given, read, works, tmp_path, upland, monkeypatch):
    calls = calls_of(monkeypatch, Reasons, "of")
    asked = ("groups", works / "energy.safetensors", works / "new.csv", "--by", "shift")
    done = upland(*asked, *options(given, tmp_path / "g.csv"))
    assert done.code in (0, 10), done.err
    assert len(calls) == (4 if read else 0)
