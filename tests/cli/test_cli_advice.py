"""What the library advises, in Python's form from Python and as options from the command line."""

import ast
import re
import shlex
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

import upland as library
from messages import CASES, outcome
from plant import HEADER, pump_rows, ramps, waves, write_csv
from upland.cli.console import in_shell
from upland.io.advice import Argument

SOURCE = Path(library.__file__).parent
FAST = ("--epochs", "1", "--calibration", "split")


def table(column, *values, count=300):
    rows = [[*row, values[n % len(values)]] for n, row in enumerate(pump_rows(count, 4))]
    return lambda path: write_csv(path.with_suffix(".csv"), rows, [*HEADER, column])


def stamped(*fourth):
    """Rows of minutes, with something else in the fourth; without one that row is taken out."""

    def make(path):
        rows = [[*row, f"2026-03-02 00:{n + 1:02d}"] for n, row in enumerate(pump_rows(50, 4))]
        rows[3:4] = [[*rows[3][:-1], text] for text in fourth]
        return write_csv(path.with_suffix(".csv"), rows[:49], [*HEADER, "when"])

    return make


def empty_column(path):
    return write_csv(path.with_suffix(".csv"), [[a, "", c, d] for a, _, c, d in pump_rows(40, 4)])


def stray_text(path):
    rows = pump_rows(40, 4)
    rows[3][0] = "n.a."
    return write_csv(path.with_suffix(".csv"), rows)


def lists(path):
    target = path.with_suffix(".parquet")
    pq.write_table(
        pa.table({"flow": [float(row[0]) for row in pump_rows(40, 4)], "spectrum": [[1]] * 40}), target
    )
    return target


def array(*shape):
    def make(path):
        np.save(path.with_suffix(".npy"), waves(shape[0], 0)[:, : shape[1]])
        return path.with_suffix(".npy")

    return make


def one_series(steps):
    def make(path):
        np.save(path.with_suffix(".npy"), np.arange(float(steps))[:, None])
        return path.with_suffix(".npy")

    return make


def images(*pixels):
    def make(path):
        Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
        path.mkdir()
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(path / f"{number}.png")
        return path

    return make


GREY, SMALL = ramps(20, seed=0), np.full((5, 5), 9, np.uint8)
COLOUR = np.zeros((12, 12, 3), np.uint8)

# data, arguments, what Python says, what the command line says
TO_FIT = {
    "label": (
        table("label", "normal", "attack"),
        {},
        "ignore=['label'] leaves it out; categorical=['label'] uses it",
        "--ignore label leaves it out; --categorical label uses it",
    ),
    "free text": (
        table("my note", *(f"seen by {n}" for n in range(300))),
        {},
        "ignore=['my note'] leaves it out; categorical=['my note'] uses it",
        "--ignore 'my note' leaves it out; --categorical 'my note' uses it",
    ),
    "no value": (empty_column, {}, "leave it out (ignore=['pressure'])", "leave it out (--ignore pressure)"),
    "mixture": (stray_text, {}, "name it, categorical=['flow']", "name it, --categorical flow"),
    "type": (lists, {}, "leave it out (ignore=['spectrum'])", "leave it out (--ignore spectrum)"),
    "time": (table("t", 1), {"time": "hour"}, "time='hour' names a column", "--time hour names a column"),
    "id": (table("t", 1), {"id": "my pump"}, "id='my pump' names a column", "--id 'my pump' names a column"),
    "a broken time stamp": (
        stamped("oops:1"),
        {"time": "when"},
        "row 4 holds 'oops:1': correct that cell, or take out its row",
        "row 4 holds 'oops:1': correct that cell, or take out its row",
    ),
    "stride": (
        array(20, 12),
        {"window": 4, "stride": 5},
        "stride=5 must not exceed window=4",
        "--stride 5 must not exceed --window 4",
    ),
    "stride alone": (array(110, 12), {"stride": 2}, "stride=2 needs a window", "--stride 2 needs a window"),
    "long stride": (
        one_series(400),
        {"modality": "sequence", "stride": 50},
        "stride=50 exceeds the window of 40 steps",
        "--stride 50 exceeds the window of 40 steps",
    ),
    "long window": (array(20, 12), {"window": 99}, "window=99 is longer", "--window 99 is longer"),
    "few windows": (
        one_series(20),
        {"modality": "sequence", "window": 20},
        "windows with window=20: window=4 would do",
        "windows with --window 20: --window 4 would do",
    ),
    "sizes": (
        images(*GREY, SMALL),
        {},
        "size=(H, W) resizes them, as size=(12, 12)",
        "--size HxW resizes them, as --size 12x12",
    ),
    "colours": (
        images(*GREY, COLOUR),
        {},
        "mode='grey' or mode='rgb' converts them",
        "--mode grey or --mode rgb converts them",
    ),
    "criterion of kept rows": (
        table("load", 1, 2, count=8),
        {"family": "flow", "criterion": "divergence"},
        "use criterion='likelihood' to do without",
        "use --criterion likelihood to do without",
    ),
    "a counter": (
        table("number", *range(300)),
        {},
        "leave it out (ignore=['number'])",
        "leave it out (--ignore number)",
    ),
}


# file and function that say it; what they advise, done: other arguments than those above, other data
DONE = {
    "label": ("data/table/learning.py:_left_out_or", {"ignore": ["label"]}, {"categorical": ["label"]}),
    "free text": (
        "data/table/learning.py:_left_out_or",
        {"ignore": ["my note"]},
        {"categorical": ["my note"]},
    ),
    "no value": (
        "data/table/learning.py:_left_out",
        {"ignore": ["pressure"]},
    ),
    "mixture": (
        "io/texts.py:_refuse_strays",
        {"categorical": ["flow"]},
        {"data": table("load", 1, 2)},
    ),
    "type": (
        "data/table/values.py:_arrow_dtype",
        {"ignore": ["spectrum"]},
    ),
    "time": (
        "data/sequence/longframes.py:find_column",
        {"time": "n", "data": table("n", *range(300))},
    ),
    "id": (
        "data/sequence/longframes.py:find_column",
        {"id": "pump", "data": table("pump", "a", "b", "c")},
    ),
    "a broken time stamp": (
        "io/texts.py:_refuse_strays",
        {"data": stamped("2026-03-02 00:04")},
        {"data": stamped()},
    ),
    "stride": (
        "data/sequence/windows.py:_check_arguments",
        {"stride": 4},
    ),
    "stride alone": (
        "data/sequence/windows.py:_resolved",
        {"window": 6},
    ),
    "long stride": (
        "data/sequence/windows.py:_resolved",
        {"window": 60},
    ),
    "long window": (
        "data/sequence/windows.py:_resolved",
        {"window": 12},
    ),
    "few windows": (
        "data/sequence/windows.py:_too_few",
        {"window": 4},
    ),
    "sizes": (
        "data/image/container.py:_gathered",
        {"size": (12, 12)},
    ),
    "colours": ("data/image/container.py:_gathered", {"mode": "grey"}, {"mode": "rgb"}),
    "criterion of kept rows": (
        "detectors/base.py:_check_reference_rows",
        {"criterion": "likelihood"},
    ),
    "a counter": (
        "data/table/suspects.py:_advice",
        {"ignore": ["number"]},
    ),
}


def fitted(data, family="energy", **arguments):
    whole = np.load(data) if data.suffix == ".npy" else data
    options = {"calibration": "split", "epochs": 1, "progress": False, **arguments}
    return library.detector_for(whole, family, **options).fit(whole)


def said_in_python(data, family="energy", **arguments):
    """The error of a fit, or its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted(data, family, **arguments)
        except (TypeError, ValueError) as error:
            return str(error)
    return " ".join(str(warning.message) for warning in caught)


def as_options(arguments):
    """Arguments of Python as options of the command line."""
    given = {"model" if name == "family" else name: value for name, value in arguments.items()}
    return [word for name, value in given.items() for word in shlex.split(in_shell(Argument(name, value)))]


@pytest.mark.parametrize("case", TO_FIT)
def test_what_a_fit_advises(case, tmp_path, upland):
    make, arguments, python, shell = TO_FIT[case]
    data = make(tmp_path / "data")
    words, passed = functions_passed(lambda: said_in_python(data, **arguments))
    assert python in words
    assert DONE[case][0] in passed
    assert shell in upland("fit", data, "-o", tmp_path / "m", *FAST, *as_options(arguments)).words


@pytest.mark.parametrize("case", TO_FIT)
def test_what_a_fit_advises_helps(case, tmp_path, upland):
    make, arguments, python, shell = TO_FIT[case]
    for number, done in enumerate(DONE[case][1:]):
        given = arguments | done
        data = given.pop("data", make)(tmp_path / f"data{number}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted(data, **given)
        assert python not in said_in_python(data, **given)
        fit = upland("fit", data, "-o", tmp_path / f"m{number}", *FAST, *as_options(given))
        assert fit.code == 0, fit.err
        assert shell not in fit.words


@pytest.mark.parametrize(
    ("pixels", "python", "shell"),
    [
        ([SMALL], "a fit with size=(12, 12) resizes", "a fit with --size 12x12 resizes"),
        ([COLOUR], "a fit with mode='grey' converts", "a fit with --mode grey converts"),
    ],
)
def test_what_scoring_images_advises(pixels, python, shell, pictures, tmp_path, upland):
    data, model = images(*pixels)(tmp_path / "data"), pictures / "model.safetensors"
    with pytest.raises(ValueError) as refused:
        library.load(model).anomaly_score(data)
    assert python in str(refused.value)
    assert shell in upland("score", model, data).words


@pytest.mark.parametrize(
    ("name", "by", "statistic", "python", "shell"),
    [
        ("energy", "a", "auto", "fit with ignore=['a'] to name", "fit with --ignore a to name"),
        ("forgetful", "shift", "auto", "fit with keep_rows above", "fit with --keep-rows above"),
        (
            "energy",
            "shift",
            "divergence",
            "fit with a FlowDetector or a VAEDetector, or use one of the statistics 'auto'",
            "fit with --model flow or --model vae, or use one of the statistics 'auto'",
        ),
    ],
)
def test_what_a_test_of_groups_advises(name, by, statistic, python, shell, works, upland):
    model = works / f"{name}.safetensors"
    with pytest.raises((ValueError, TypeError)) as refused:
        library.load(model).score_groups(works / "new.csv", by, statistic=statistic)
    assert python in str(refused.value)
    assert shell in upland("groups", model, works / "new.csv", "--by", by, "--statistic", statistic).words


@pytest.mark.filterwarnings("ignore:time steps depend on each other")
def test_what_groups_of_steps_advise(tmp_path, upland):
    data = array(40, 12)(tmp_path / "normal")
    np.save(tmp_path / "labels.npy", np.repeat(["a", "b"], 20))
    assert upland("fit", data, "-o", tmp_path / "m", "--per", "step", *FAST, "-q").code == 0
    with pytest.raises(ValueError, match="fit with per='sequence'"):
        library.load(tmp_path / "m").score_groups(np.load(data), np.load(tmp_path / "labels.npy"))
    done = upland("groups", tmp_path / "m", data, "--by", tmp_path / "labels.npy")
    assert "fit with --per sequence" in done.words


def scored(plant, folder, *options):
    return "score", plant / "pump.safetensors", plant / "new.csv", "-o", folder / "out.csv", *options


def table_of(folder, **columns):
    rows = {"flow": np.arange(40) % 7 + 0.5, "load": np.arange(40) % 5 + 0.1} | columns
    csv.write_csv(pa.table(rows), folder / "rows.csv")
    return folder / "rows.csv"


def array_of(folder, array):
    np.save(folder / "rows.npy", array)
    return folder / "rows.npy"


def to_fit(folder, data, *options):
    return "fit", data, "-o", folder / "m.safetensors", *FAST, *options


def to_refine(folder, segments):
    """Labelled rows for a model of two halls, or of all rows."""
    rows = table_of(folder, hall=np.arange(40) % 2, broken=np.arange(40) % 4 // 3)
    detector = library.EnergyDetector(ignore=["broken"], random_state=0, progress=False)
    if segments:
        detector = library.SegmentedDetector(detector, by="hall")
    many = pa.concat_tables([csv.read_csv(rows)] * 5)
    library.save(detector.fit(many), folder / "m.safetensors", overwrite=True)
    return "refine", folder / "m.safetensors", rows, "--label", "broken", "--in-place"


# said by the command line alone: file and function, what is wrong, the words, what they advise
SHELL = {
    "output over input": (
        "cli/checks.py:check_other",
        lambda c: ("fit", table_of(c.folder), "-o", c.folder / "rows.csv", "--overwrite", *FAST),
        "choose another output",
        lambda c: to_fit(c.folder, table_of(c.folder)),
    ),
    "output that exists": (
        "io/replace.py:check_target",
        lambda c: (*scored(c.plant, c.folder)[:3], "-o", table_of(c.folder)),
        "choose another name, or say --overwrite",
        lambda c: scored(c.plant, c.folder),
        lambda c: (*scored(c.plant, c.folder)[:3], "-o", table_of(c.folder), "--overwrite"),
    ),
    "groups of steps": (
        "cli/groups.py:_grouped",
        lambda c: ("groups", c.series / "steps.safetensors", c.series / "new.csv", "--by", "pump"),
        "fit with --model flow, which tests groups of steps, on an array (N, T, D) of sequences, or on a "
        "table whose rows stand alone",
        lambda c: (
            *("fit", c.series / "normal.csv", "-o", c.folder / "flow", "--time", "time", "--id", "pump"),
            *("--model", "flow", *FAST),
        ),
        lambda c: ("groups", c.works / "energy.safetensors", c.works / "new.csv", "--by", "shift"),
    ),
    "model of another modality": (
        "cli/inputs.py:check_model",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0)), "--model", "vae"),
        "take --model energy",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0)), "--model", "energy"),
    ),
    "option of another model": (
        "cli/inputs.py:check_model",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0)), "--keep-rows", "9"),
        "--keep-rows does not go with --model energy on sequences: leave it out",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0))),
    ),
    "criterion of another model": (
        "cli/inputs.py:check_model",
        lambda c: to_fit(c.folder, table_of(c.folder), "--criterion", "likelihood"),
        "take --model flow",
        lambda c: to_fit(c.folder, table_of(c.folder), "--criterion", "likelihood", "--model", "flow"),
        lambda c: to_fit(c.folder, table_of(c.folder), "--criterion", "energy"),
    ),
    "array of two dimensions": (
        "cli/inputs.py:_by_looks",
        lambda c: to_fit(c.folder, array_of(c.folder, np.sin(np.arange(200.0))[:, None])),
        "say --modality sequence if it is one long series of 200 steps",
        lambda c: to_fit(
            c.folder, array_of(c.folder, np.sin(np.arange(200.0))[:, None]), "--modality", "sequence"
        ),
    ),
    "option of sequences": (
        "cli/inputs.py:_check_options",
        lambda c: to_fit(c.folder, table_of(c.folder), "--window", "4"),
        "name its time column with --time, or say --modality sequence",
        lambda c: to_fit(c.folder, table_of(c.folder, t=np.arange(40)), "--window", "4", "--time", "t"),
        lambda c: to_fit(c.folder, table_of(c.folder), "--window", "4", "--modality", "sequence"),
    ),
    "option of images": (
        "cli/inputs.py:_check_options",
        lambda c: to_fit(c.folder, table_of(c.folder), "--mode", "grey"),
        "leave --mode out",
        lambda c: to_fit(c.folder, table_of(c.folder)),
    ),
    "column of an array": (
        "cli/inputs.py:_check_options",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0)), "--time", "t"),
        "leave --time out, its steps stand in order",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0))),
    ),
    "segments of sequences": (
        "cli/inputs.py:_check_options",
        lambda c: to_fit(c.folder, c.series / "normal.csv", "--time", "time", "--by", "pump"),
        "name the sequences with --id",
        lambda c: to_fit(c.folder, c.series / "normal.csv", "--time", "time", "--id", "pump"),
    ),
    "segments of arrays": (
        "cli/inputs.py:_check_options",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0)), "--by", "pump"),
        "leave --by out",
        lambda c: to_fit(c.folder, array_of(c.folder, waves(20, 0))),
    ),
    "new segments without a column": (
        "cli/inputs.py:_check_options",
        lambda c: to_fit(c.folder, table_of(c.folder, pump=np.arange(40) % 2), "--unseen", "error"),
        "name their column with --by",
        lambda c: to_fit(
            c.folder, table_of(c.folder, pump=np.arange(40) % 2), "--unseen", "error", "--by", "pump"
        ),
    ),
    "segments to refine": (
        "cli/commands.py:refine",
        lambda c: to_refine(c.folder, segments=True),
        "fit a model without --by",
        lambda c: to_refine(c.folder, segments=False),
    ),
    "maps among the images": (
        "cli/images.py:check_maps",
        lambda c: maps(c, c.pictures / "new" / "maps"),
        "choose another folder",
        lambda c: maps(c, c.folder / "maps"),
    ),
    "changes of images": (
        "cli/checks.py:check_changes_fit",
        lambda c: (*scored_images(c), "--counterfactual", "2"),
        "leave it out, or see --why",
        lambda c: scored_images(c),
        lambda c: (*scored_images(c), "--why"),
    ),
    "columns of scores": (
        "cli/results.py:check_clash",
        lambda c: (*scored(c.plant, c.folder)[:2], scored_already(c), "-o", c.folder / "again.csv"),
        "rename them, or say --replace-columns",
        lambda c: (
            *scored(c.plant, c.folder)[:2],
            scored_already(c),
            "-o",
            c.folder / "again.csv",
            "--replace-columns",
        ),
    ),
}


def maps(c, folder):
    model, new = c.pictures / "model.safetensors", c.pictures / "new"
    return "score", model, new, "-o", c.folder / "out.csv", "--maps", folder


def scored_images(c):
    return "score", c.pictures / "model.safetensors", c.pictures / "new", "-o", c.folder / "out.csv"


def scored_already(c):
    rows = csv.read_csv(c.plant / "new.csv")
    csv.write_csv(rows.append_column("anomaly_score", pa.array([0.0] * len(rows))), c.folder / "scored.csv")
    return c.folder / "scored.csv"


@pytest.fixture
def there(request, tmp_path_factory):
    """Models and data of the command line's tests, each made when it is asked for, and an empty folder."""

    class There:
        def __getattr__(self, name):
            return request.getfixturevalue(name)

        @property
        def folder(self):
            return self.__dict__.setdefault("at", tmp_path_factory.mktemp("advice"))

        def anew(self):
            self.__dict__.pop("at", None)
            return self

    return There()


@pytest.mark.parametrize("case", SHELL)
def test_what_the_command_line_advises_helps(case, there, upland):
    site, wrong, words, *ways = SHELL[case]
    refused, passed = functions_passed(lambda: upland(*wrong(there)))
    assert words in refused.words
    assert refused.code != 0
    assert site in passed
    for way in ways:
        done = upland(*way(there.anew()))
        assert done.code in (0, 10), done.err
        assert words not in done.words


def functions_passed(call):
    """What a call returns, and the functions of upland that run during it, as `file:function`."""
    home, found = f"{SOURCE}/", set()

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(home):
            found.add(f"{frame.f_code.co_filename.removeprefix(home)}:{frame.f_code.co_name}")

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        return call(), found
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("name", CASES)
def test_what_python_advises_helps(name, tmp_path):
    case = CASES[name]
    (words, _), passed = functions_passed(lambda: outcome(case.wrong, tmp_path))
    assert re.search(case.words, words), words
    assert case.site in passed
    for number, right in enumerate(case.right):
        (folder := tmp_path / f"right {number}").mkdir()
        words, refused = outcome(right, folder)
        assert refused is None, words
        assert not re.search(case.words, words), words


ADVISES = re.compile(
    r"(: |; |, or )(fit|give|use|say|leave|rename|name|try|convert|turn|save|begin|choose|make|put|calibrate"
    r"|take|correct|drop|write)\b(?! and)|\bpip install|\. Correct|resizes|converts|to do without|would do"
)
"""How a message that tells what to do reads."""

ELSEWHERE = {
    "data/sequence/next_steps.py:_listed": "steps of series in Python: tests/detectors/test_score_steps.py",
    "data/image/augmentation.py:_check": "in Python: tests/data/test_augmentation.py",
    "data/image/photographs.py:suitable_features": "no weights: tests/data/image/test_photographs.py",
    "data/image/weights.py:released_file": "no weights: tests/detectors/features/test_efficientnet.py",
    "detectors/image_flow.py:_tester_of": "fresh images in Python: tests/detectors/test_classes.py",
    "detectors/image_gaussian.py:of_classes": "features of a network: tests/detectors/test_image_gaussian.py",
    "detectors/stream.py:check_single": "steps of series in Python: tests/detectors/test_score_steps.py",
    "detectors/sequence_flow.py:_stretch_tester": "in Python: tests/detectors/test_sequence_flow.py",
    "groups/stretches.py:check": "groups of stretches: tests/detectors/test_sequence_flow.py",
    "detectors/ensemble.py:criterion": "a file of an upland that had fewer criteria, which there is not yet",
    "data/table/matching.py:find_positions": "a model that uses an index, which no fit makes any more",
    "cli/standard_input.py:received": "standard input is closed: tests/cli/test_cli_places.py",
    "io/csv_lines.py:see": "files of gigabytes: tests/io/test_csv.py",
    "io/excel.py:_column": "tests/io/test_excel.py",
    "io/excel.py:_names": "tests/io/test_excel.py",
    "io/images.py:pillow": "Pillow is not installed: tests/io/test_images.py",
    "cli/engines.py:folder_of": "a cluster: tests/distributed/test_ray_scoring.py",
    "cli/groups.py:test": "a cluster: tests/distributed/test_ray_groups.py",
    "scoring/budget.py:on": "tests/cli/test_cli_alarms.py",
    "scoring/choice.py:chosen": "tests/scoring/test_episode_list.py",
    "scoring/histories.py:__init__": "tests/scoring/test_alarm_history.py",
    "scoring/merging.py:merging_of": "tests/cli/test_cli_alarms.py",
    "scoring/times.py:_no_time": "tests/scoring/test_alarm_history.py",
    "cli/alarms.py:_level": "tests/cli/test_cli_alarms.py",
    "reporting/evaluation.py:evaluated": "tests/reporting/test_card.py",
    "watch/channels.py:__init__": "tests/watch/test_deliveries.py",
    "watch/options.py:check_same": "tests/cli/test_cli_watching.py",
    "watch/batches.py:_as_table": "tests/watch/test_watch_advice.py",
    "watch/batches.py:_of_steps": "tests/watch/test_watch_advice.py",
    "watch/batches.py:_labels_of_steps": "tests/watch/test_watch_advice.py",
    "watch/batches.py:_read": "tests/watch/test_watch_advice.py",
    "watch/history.py:__init__": "tests/watch/test_history.py",
    "watch/options.py:__post_init__": "tests/watch/test_watch_advice.py",
    "watch/steps.py:sequence_detector": "tests/watch/test_watch_advice.py",
    "watch/watch.py:__init__": "tests/watch/test_watch_advice.py",
    "scoring/scorer.py:_verdicts_on_groups": "tests/scoring/test_scorer.py",
    "distributed/fit.py:_in_closed_form": "a cluster: tests/distributed/test_ray_fit.py",
    "distributed/cluster.py:cluster": "a cluster: tests/distributed/test_ray_scoring.py",
    "distributed/manifest.py:_read": "tests/distributed/test_run_manifest.py",
    "distributed/partitions.py:check_apart": "a cluster: tests/distributed/test_ray_scoring.py",
    "distributed/partitions.py:partitions_at": "a cluster: tests/distributed/test_ray_scoring.py",
    "distributed/plan.py:_refused": "a cluster: tests/distributed/test_ray_scoring.py",
    "distributed/tasks.py:_tables": "a cluster: tests/distributed/test_ray_scoring.py",
    "io/extras.py:needed": "a package is not installed: tests/io/test_extras.py",
    "cli/serving.py:_keys": "a server that starts goes on: tests/serve/test_serve_process.py",
    "serve/files.py:_as_file": "a full disk: tests/serve/test_serve_refusals.py",
    "serve/models.py:__init__": "tests/cli/test_cli_serving.py",
    "serve/models.py:get": "tests/serve/test_serve_refusals.py",
}
"""Functions whose advice is done by other tests, or by none, and why."""


def functions_that_advise():
    """Every function with an argument named in a message, or an error or warning that tells what to do."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(map(advises, within(node))):
                yield f"{path.relative_to(SOURCE).as_posix()}:{node.name}"


def within(function):
    """The nodes of a function, but for those of functions in it."""
    todo = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef):
            todo += ast.iter_child_nodes(node)


def advises(node):
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    if called in ("Argument", "Estimator"):
        return True
    said = isinstance(node, ast.Raise) or called in ("warnings.warn", "Advice", "Wording")
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return said and bool(ADVISES.search("".join(text for text in texts if isinstance(text, str))))


def test_every_message_that_advises_is_tried():
    tried = {case.site for case in CASES.values()}
    tried |= {site for site, *_ in (*DONE.values(), *SHELL.values())}
    found = set(functions_that_advise())
    assert sorted(found - tried - ELSEWHERE.keys()) == [], (
        "add an entry to tests/messages.py, or to a table here"
    )
    assert sorted(ELSEWHERE.keys() - found) == []
