"""The demonstration: its promises hold, its files are those it names, its text fits any terminal."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv as csv
import pytest
from upland_demo import biopsies, clinics, digits, reports
from upland_demo import run as demo

import upland as library
from htmlpages import Parsed
from upland.reporting import html

PICTURES = ["digits", "heat", "zeros"]
FILES = [
    *("model.safetensors", "new.csv", "normal.csv", "scored.csv"),
    *("clinics.csv", "clinics-tested.csv", "clinics.safetensors", "patients.csv"),
    *("digits.csv", "zeros.safetensors"),
    *("digit-rows.csv", "digit-rows.npy", "zero-rows.npy", "zero-rows.safetensors"),
    *("pumps-normal.csv", "pumps-scored.csv", "pumps.csv", "pumps.safetensors"),
    *("report.html", "biopsies.html", "clinics.html", "digits.html", "pumps.html"),
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The text printed, the folder and the findings of one run."""
    pytest.importorskip("PIL", reason="needs Pillow")
    from upland.cli.console import console

    folder = tmp_path_factory.mktemp("demo") / "upland-demo"
    with (folder.parent / "screen.txt").open("w+") as stream, pytest.MonkeyPatch.context() as patched:
        patched.setattr(html, "_vega", lambda: "")  # the scripts that draw take a second for each page
        findings = demo.run(folder, console(stream))
        stream.seek(0)
        return stream.read(), folder, findings


def test_what_it_finds_in_the_table(shown):
    _, _, findings = shown
    found = findings.table
    assert (found.normal, found.odd) == (100, 212)
    assert found.auroc > 0.9
    assert found.alarms <= 15
    assert found.hits > 100


def test_what_it_finds_in_groups(shown):
    text, folder, findings = shown
    tested = findings.groups
    assert tested.flagged == [clinics.MIXED_UP, clinics.MISREAD]
    for name, reason, column in (
        (clinics.MIXED_UP, "dependence", "hdl"),
        (clinics.MISREAD, "marginals", "blood_pressure"),
    ):
        details = tested.clinics[name].details
        assert (details["reason"], details["columns"][0]) == (reason, column)
    others = sum(tested.rows.values()) - tested.rows[clinics.MIXED_UP]
    assert tested.rows[clinics.MISREAD] <= 2  # of 20 patients: found as a group alone
    assert others <= 0.1 * 7 * 20
    assert "2 of 8 clinics are anomalous (false discovery rate 5 %)" in text
    assert csv.read_csv(folder / "clinics-tested.csv")["is_anomaly"].to_pylist() == [
        found.is_anomaly for found in tested.clinics.values()
    ]


def test_one_clinic_s_values_are_all_real_ones(shown):
    _, folder, _ = shown
    table = csv.read_csv(folder / "clinics.csv")
    normal = csv.read_csv(folder / "patients.csv")
    assert (table.num_rows, normal.num_rows) == (160, 282)
    clinic = np.array(table["clinic"].to_pylist())
    assert normal.column_names == table.column_names[1:] == clinics.NAMES
    hdl, ratio = (table[name].to_numpy()[clinic == clinics.MIXED_UP] for name in ("hdl", "cholesterol_ratio"))
    assert normal["hdl"].to_numpy().min() <= hdl.min() <= hdl.max() <= normal["hdl"].to_numpy().max()
    assert np.corrcoef(hdl, ratio)[0, 1] > np.corrcoef(normal["hdl"], normal["cholesterol_ratio"])[0, 1] + 0.3


def test_what_it_finds_in_images(shown):
    _, _, findings = shown
    others, struck = findings.images.others, findings.images.struck
    assert (others.normal, others.odd, struck.normal, struck.odd) == (40, 135, 40, 10)
    assert others.auroc > 0.9
    assert others.alarms == struck.alarms <= 6
    assert findings.images.located >= 6
    assert findings.images.maps >= others.hits + struck.hits


def test_what_it_finds_in_sequences(shown):
    _, _, findings = shown
    assert (findings.sequences.normal, findings.sequences.odd) == (40, 135)
    assert findings.sequences.auroc > 0.95
    assert findings.sequences.alarms <= 6


def test_what_it_finds_in_long_series(shown):
    _, _, findings = shown
    worst = findings.series.worst
    assert worst.name == "pump-3"
    assert "2026-03-09T10:11" <= str(worst.details["start"]) <= "2026-03-09T10:16"
    assert findings.series.flagged > 0.8
    assert findings.series.alarms < 0.1


def test_what_it_says(shown):
    text, folder, findings = shown
    for found in (findings.table, findings.images.others, findings.sequences):
        assert f"AUROC {found.auroc:.3f}" in text
        assert f"{found.alarms / found.normal:.1%} false alarms" in text
    assert len(re.findall(r"^ *\d+\*", text, re.MULTILINE)) == 3
    assert "expected" in text
    wide = [line for line in text.splitlines() if len(line) > 80 and str(folder) not in line]
    assert wide == []


def test_what_it_writes(shown):
    text, folder, findings = shown
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, *PICTURES])
    for name in [*FILES, *PICTURES]:
        assert name in text
    scored = csv.read_csv(folder / "scored.csv")
    assert scored.num_rows == findings.table.normal + findings.table.odd
    assert {"diagnosis", "anomaly_score", "p_value", "is_anomaly", "reason"} <= set(scored.column_names)
    assert "diagnosis" not in library.load(folder / "model.safetensors").encoder_.column_names
    assert biopsies.compare(folder / "scored.csv") == findings.table
    assert len(list((folder / "heat").iterdir())) == findings.images.maps


def test_it_ends_by_naming_the_page_that_names_its_reports(shown):
    text, folder, findings = shown
    assert text.rstrip().splitlines()[-1] == f"See it in a browser: {folder / 'report.html'}"
    index = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert [value for tag, name, value in index.attributes if name == "href" and value[0] != "#"] == [
        *reports.PAGES
    ]
    found = {name: Parsed((folder / name).read_text(encoding="utf-8")).text for name in reports.PAGES}
    flagged = findings.table.alarms + findings.table.hits
    assert f"{flagged} of 312 rows in new.csv are flagged" in found["biopsies.html"]
    assert (
        f"2 of 8 groups by clinic are flagged at a false discovery rate of 0.05: {clinics.MIXED_UP}, "
        in (found["clinics.html"])
    )
    count = findings.images.others.alarms + findings.images.others.hits + findings.images.struck.hits
    assert f"{count} of 185 images" in found["digits.html"]
    assert "The worst: pump-3, 2026-03-09 10:1" in found["pumps.html"]
    assert "pressure contributes most" in found["pumps.html"]
    for name in reports.PAGES:
        assert (folder / name).stat().st_size < 2_000_000


@pytest.mark.parametrize("module", ["altair", "vl_convert", "PIL"])
def test_without_what_pages_need_it_says_what_to_install(module, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(reports, "find_spec", lambda name: None if name == module else found(name))
    (package,) = reports.missing()
    assert package.lower().startswith(module.replace("_", "-").lower().replace("pil", "pillow"))


def test_the_next_commands_run(shown, monkeypatch, upland, tmp_path):
    text, folder, _ = shown
    commands = re.findall(rf"^  (?:\S*/)?upland (.* {re.escape(str(folder))}.*)$", text, re.MULTILINE)
    assert len(commands) == len(demo.next_commands(folder, digits.Files(folder, True))) == 9
    monkeypatch.chdir(tmp_path)
    for command in commands:
        if command.startswith("fit"):
            command += " --epochs 1 --quiet"
        done = upland(*shlex.split(command))
        assert done.code == 0, done.err
    assert list((folder / "more-heat").iterdir())


def test_strokes_are_where_it_says():
    dealt = digits.digits(np.random.default_rng(0))
    assert len(dealt.new) == len(dealt.names) == len(set(dealt.names)) == 40 + 9 * 15 + 10
    assert (dealt.new[dealt.strokes] == 255).all()
    assert set(dealt.strokes[dealt.struck].sum(axis=(1, 2)).tolist()) == {3, 4}
    zeros = [dealt.names.index(f"zero-{number:02d}") for number in range(10)]
    assert (dealt.new[zeros][dealt.strokes[dealt.struck]] < 64).all()


def test_without_pillow_there_are_arrays_and_no_maps(tmp_path, monkeypatch, capsys):
    from upland.cli.console import console

    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert not demo.has_pillow()
    files, dealt = digits.Files(tmp_path, False), digits.digits(np.random.default_rng(0))
    found = digits.show_images(files, dealt, console(sys.stdout), seed=0)
    assert found.maps == 0
    assert "pip install 'upland[images]'" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("digits.csv", "digits.npy", "zeros.npy", "zeros.safetensors")
    ]
    assert not any("--maps" in command for command in demo.next_commands(tmp_path, files))


@pytest.mark.parametrize("layout", ["checkout", "wheel", "neither"])
def test_the_demonstration_is_found_in_both_layouts(layout, tmp_path, monkeypatch):
    from upland.cli import demonstration

    package = tmp_path / "src" / "upland"
    there = {"checkout": tmp_path / "examples" / "demo", "wheel": package / "demo", "neither": tmp_path}[
        layout
    ]
    (package / "cli").mkdir(parents=True)
    there.mkdir(parents=True, exist_ok=True)
    (there / "run.py").touch()
    monkeypatch.setattr(demonstration, "__file__", str(package / "cli" / "demonstration.py"))
    if layout != "neither":
        assert demonstration.demonstration_folder() == there
        return
    with pytest.raises(FileNotFoundError, match="the demonstration is missing"):
        demonstration.demonstration_folder()


def test_the_demonstration_is_that_of_the_checkout():
    assert Path(demo.__file__) == Path(__file__).parents[2] / "examples" / "demo" / "run.py"
