"""Messages that advise: how each comes about in Python, its words, and what it advises, done.

A new message with advice takes an entry here, or in a table of tests/cli/test_cli_advice.py, where they are
used.
"""

import datetime as dt
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import upland
from normals import COMMON, fitted, mixed, numbers, quick, slopes, small, waves
from upland.export.onnx import to_onnx
from upland.io.formats import TableWriter, open_source
from upland.io.places import is_place_of_rows
from upland.io.replace import replacing
from upland.models.glow import Glow

Sequence, Image = upland.SequenceEnergyDetector, upland.ImageEnergyDetector
STORED = Path(__file__).parent / "stored"


class Case(NamedTuple):
    """One message.

    Args:
        site: file and function that say it.
        wrong: given an empty folder, is refused or warned with the message.
        words: of the advice, a regular expression.
        right: given the folder, does what the message advises; several where there are several ways.
    """

    site: str
    wrong: Callable[[Path], Any]
    words: str
    right: tuple[Callable[[Path], Any], ...]


def case(site, wrong, words, *right):
    return Case(site, wrong, words, right)


def grey(count=24, **options):
    return slopes(count, **options)


def pillow(pixels):
    return pytest.importorskip("PIL.Image", reason="needs Pillow").fromarray(pixels)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def frames(folder):
    first, *others = [pillow(image) for image in grey(3)]
    return saved(first, folder / "moving.gif", save_all=True, append_images=others)


def signed(folder):
    return saved(pillow(grey()[0]), folder / "signed.tif", tiffinfo={339: 2})


def corner():
    mask = np.zeros((8, 7), dtype=bool)
    mask[0, 0] = True
    return mask


def seen_through():
    """A picture of a mask that is half transparent."""
    return pillow(np.dstack([255 * corner().astype(np.uint8)] * 3 + [np.full((8, 7), 127, np.uint8)]))


def ignoring(mask, **options):
    return small(Image, ignore=mask, **options).fit(grey())


def of_two_classes(classes=("left", "right"), **options):
    """A flow fitted on images of two classes; None fits it without."""
    names = None if classes is None else list(classes) * 12
    return small(upland.ImageFlowDetector, **options).fit(grey(), classes=names)


def own_flow(shape):
    return Glow(shape, levels=1, depth=1, hidden=2)


def in_folders(folder, names):
    for number, image in enumerate(grey()):
        place = folder / names[number % len(names)]
        place.mkdir(exist_ok=True)
        saved(pillow(image), place / f"{number}.png")
    return folder


def means(images):
    """Features of the user's own: two numbers of each image."""
    return torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3))], 1)


class NotCopied(torch.nn.Module):
    def forward(self, images):
        return means(images)

    def __deepcopy__(self, memo):
        raise TypeError("there is one of me")


def by_features(features, **options):
    return small(Image, features=features, energy="experts", **options).fit(grey())


def stored(detector, folder):
    upland.save(detector, folder / "model.safetensors")
    return folder / "model.safetensors"


def stored_by_means(folder):
    return stored(by_features(means), folder)


def scored_twice(folder, **options):
    upland.save(fitted(), folder / "model.safetensors")
    scorer = upland.Scorer(folder / "model.safetensors", **options)
    return scorer(scorer({f"x{number}": column for number, column in enumerate(numbers().T)}))


def long_frame():
    """Two machines whose rows have the same time stamps."""
    one = pd.DataFrame({"time": np.arange(40), "speed": np.sin(np.arange(40))})
    return pd.concat([one.assign(machine="a"), one.assign(machine="b", speed=one["speed"] + 0.1)])


def dated(step=60):
    """A series of dates that are so many seconds apart."""
    times = pd.date_range("2026-03-02", periods=60, freq=f"{step}s")
    return pd.DataFrame({"t": times, "speed": np.sin(np.arange(60))})


def text_days(*third, count=60):
    """Dates as text, with something else in the fourth row."""
    texts = [f"2026-03-{n % 28 + 1:02d} {n // 28:02d}:00" for n in range(count)]
    return [*texts[:3], *third, *texts[4:]] if third else texts


def doubtful_days():
    return [f"{n}/{n}/2026" for n in range(1, 12)] + ["1/2/2026"]


def texts_of_time():
    """A series whose time stamps are text."""
    return pd.DataFrame({"t": text_days(), "speed": np.sin(np.arange(60))})


def flow_of_steps(kept):
    return small(upland.SequenceFlowDetector, window=20, keep_rows=kept).fit(numbers(200))


def named_days(count=40):
    return [f"day {number}" for number in range(count)]


def with_cells(*values, **options):
    """A fit of a table with a column t of these values, one after the other."""
    cells = [values[n % len(values)] for n in range(120)]
    return quick(**options).fit(mixed().assign(t=pd.Series(cells, dtype=object)))


def stamps(*zones):
    """A file of time stamps of this year, with these zones one after the other."""
    rows = [f"2026-03-{n % 28 + 1:02d}T10:00:00{zones[n % len(zones)]},{n % 7}.5" for n in range(120)]
    return "\n".join(["when,load", *rows]).encode()


def scored_stamps(folder, *zones):
    detector = quick().fit(written(folder / "normal.csv", stamps("Z")))
    return detector.anomaly_score(written(folder / "new.csv", stamps(*zones)))


def batches_of_dates(*zones):
    frames = [mixed().assign(when=pd.date_range("2026-01-01", periods=120, tz=zone)) for zone in zones]
    return upland.TableEncoder().fit_batches(frames)


def contrast(like):
    encoder = upland.ImageEncoder(scaling="contrast").fit(grey())
    return encoder.decode(encoder.transform(grey()), **({"like": grey()} if like else {}))


def experts(**options):
    """A detector of tables by the default's model."""
    return upland.EnergyDetector(**{"random_state": 0, "progress": False} | options)


def some_labelled():
    return numbers(12, seed=5), [1, 1, *[0] * 10]


def changed(detector, **params):
    return detector.set_params(**params)


def written(path, content):
    path.write_bytes(content)
    return path


class Own(upland.EnergyDetector):
    """An estimator of a user's own."""


def own_net(width):
    return torch.nn.Sequential(torch.nn.Linear(width, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def reloaded(folder, fitted_with, **given):
    upland.save(quick(model=fitted_with).fit(numbers()), folder / "m")
    return upland.load(folder / "m", **given)


def without_pandas(monkeypatched):
    """Call with pandas gone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "pandas", None)
        return monkeypatched()


def pairs(detector, rows, **options):
    return detector.score_groups(rows, np.arange(len(rows)) % 2, **options)


def halves(detector, rows=240):
    return detector.score_groups(numbers(rows), np.repeat([0, 1], rows // 2))


def checkpointed(folder, name):
    upland.save(quick().fit(numbers()), folder / "model")
    return quick().fit(numbers(), checkpoint=folder / name)


def of_images(modality):
    return upland.detector_for(waves(), model=modality, **COMMON)


def dear(rate):
    """A training at a learning rate, of a net without bounds."""
    return quick(model=lambda width: torch.nn.Linear(width, 1), learning_rate=rate)


def records(shape):
    found = np.zeros(shape, dtype=[("a", float), ("b", float)])
    found["a"], found["b"] = np.random.default_rng(0).normal(size=(2, *shape))
    return found


def hours():
    return pd.date_range("2026-01-01", periods=120, freq="h")


def sentinel():
    made = pd.DataFrame(numbers(120, 2), columns=["a", "b"])
    made.loc[7, "a"] = -9999.0
    return made


def plain_rows(by=b","):
    return b"".join(b"%.3f%b%.3f\n" % (one, by, two) for one, two in numbers(60, 2).tolist())


def lists(path):
    with TableWriter(path) as writer:
        writer.write(pa.table({"a": [[1], [2]]}))


def rows_and_image(rows, images):
    for folder in (rows, images):
        folder.mkdir(exist_ok=True)
    saved(pillow(grey(1)[0]), images / "a.png")
    return written(rows / "a.csv", b"a,b\n" + plain_rows()).parent


def loop(path):
    path.symlink_to(path.name)
    return path


def while_written(path, other):
    """Write one file while another is being written."""
    with replacing(path) as first, replacing(other) as second:
        first.write(b"1")
        second.write(b"2")


TABLES = [
    case(
        "data/modality.py:check_modality",
        lambda _: quick().fit(grey()),
        "use ImageEnergyDetector",
        lambda _: small(Image).fit(grey()),
    ),
    case(
        "data/table/encoder.py:_report_missing",
        lambda _: upland.TableEncoder(missing="error").fit(numbers()).transform([[np.nan, 0, 0, 0]]),
        "fill them in, or fit on data with missing values",
        lambda _: upland.TableEncoder(missing="error").fit(numbers()).transform([[0.0, 0, 0, 0]]),
        lambda _: (
            upland.TableEncoder(missing="error")
            .fit(np.vstack([numbers(), [np.nan, 0, 0, 0]]))
            .transform([[np.nan, 0, 0, 0]])
        ),
    ),
    case(
        "data/table/frames.py:view_table",
        lambda _: quick().fit(__import__("scipy.sparse").sparse.csr_matrix(numbers())),
        r"use X\.toarray\(\)",
        lambda _: quick().fit(__import__("scipy.sparse").sparse.csr_matrix(numbers()).toarray()),
    ),
    case(
        "data/table/columns.py:unsupported",
        lambda _: quick().fit(mixed().assign(span=pd.arrays.SparseArray(["a", "b"] * 60))),
        r"leave it out \(ignore=\['span'\]\)",
        lambda _: quick(ignore=["span"]).fit(mixed().assign(span=pd.arrays.SparseArray(["a", "b"] * 60))),
    ),
    case(
        "data/table/frames.py:_names",
        lambda _: quick().fit(mixed().rename(columns={"steps": 7})),
        r"X\.columns = X\.columns\.astype\(str\)",
        lambda _: quick().fit(mixed().rename(columns={"steps": 7}).rename(columns=str)),
    ),
    case(
        "data/table/frames.py:_names",
        lambda _: quick().fit(mixed().rename(columns={"steps": "flow"})),
        "rename or drop all but one",
        lambda _: quick().fit(mixed().drop(columns="steps")),
    ),
    case(
        "data/table/learning.py:check_finite",
        lambda _: quick().fit(np.vstack([numbers(), [np.inf, 0, 0, 0]])),
        "Correct them or leave the cells empty",
        lambda _: quick().fit(np.vstack([numbers(), [1.0, 0, 0, 0]])),
        lambda _: quick().fit(np.vstack([numbers(), [np.nan, 0, 0, 0]])),
    ),
    case(
        "data/table/matching.py:resolve",
        lambda _: quick(ignore=["Flow"]).fit(mixed()),
        "it has 'flow'",
        lambda _: quick(ignore=["flow"]).fit(mixed()),
    ),
    case(
        "detectors/arguments.py:device_of",
        lambda _: quick(device="gpu").fit(numbers()),
        "device='gpu' cannot be used",
        lambda _: quick(device="cpu").fit(numbers()),
    ),
    case(
        "detectors/auto.py:detector_for",
        lambda _: of_images("vae"),
        "use model='energy'",
        lambda _: of_images("energy").fit(waves()),
    ),
    case(
        "detectors/refining.py:check_model",
        lambda _: quick().fit(numbers()).refine(*some_labelled()),
        r"fit EnergyDetector\(energy='experts'\)",
        lambda _: experts(energy="experts").fit(numbers()).refine(*some_labelled()),
    ),
    case(
        "detectors/refining.py:check_model",
        lambda _: experts(criterion="reconstruction").fit(numbers()).refine(*some_labelled()),
        "use criterion='experts'",
        lambda _: experts(criterion="experts").fit(numbers()).refine(*some_labelled()),
        lambda _: changed(experts(criterion="reconstruction").fit(numbers()), criterion="experts").refine(
            *some_labelled()
        ),
    ),
    case(
        "detectors/refining.py:check_model",
        lambda _: experts(keep_rows=0).fit(numbers()).refine(*some_labelled()),
        "fit with keep_rows=2000",
        lambda _: experts(keep_rows=2000).fit(numbers()).refine(*some_labelled()),
    ),
    case(
        "detectors/refining.py:refined",
        lambda _: experts().fit(numbers(20)).refine(numbers(3, seed=5), [1, 1, 1]),
        "label 10 rows with 0",
        lambda _: experts().fit(numbers(20)).refine(numbers(13, seed=5), [1, 1, 1, *[0] * 10]),
    ),
    case(
        "detectors/refining.py:_labels_in",
        lambda _: experts().fit(mixed()).refine(mixed(), "running"),
        r"fit with ignore=\['running'\]",
        lambda _: experts(ignore=["running"]).fit(mixed()).refine(mixed(), "running"),
    ),
    case(
        "detectors/scoring.py:_check_criterion",
        lambda _: changed(fitted(), criterion="energy").p_values(numbers()),
        "fit again, or with contamination='auto' calibrate on fresh normal rows",
        lambda _: changed(quick().fit(numbers()), criterion="energy").fit(numbers()).p_values(numbers()),
        lambda _: changed(fitted(), criterion="energy").calibrate(numbers(seed=9)).p_values(numbers()),
    ),
    case(
        "calibration/conformal.py:warn_of_resolution",
        lambda _: fitted().flag(numbers(), alpha=0.001),
        "calibrate on at least 999 rows",
        lambda _: fitted().calibrate(numbers(999, seed=9)).flag(numbers(), alpha=0.001),
    ),
    case(
        "detectors/table.py:_check_no_ensemble",
        lambda _: quick(objective="sliced", n_nets=2).fit(numbers()),
        "n_nets=2 needs objective='denoising' and upland's own multi-scale model: leave it 'auto'",
        lambda _: quick(objective="sliced", n_nets="auto").fit(numbers()),
        lambda _: quick(objective="denoising", n_nets=2).fit(numbers()),
    ),
    case(
        "detectors/arguments.py:contradiction",
        lambda _: quick(energy="experts", epochs=3).fit(numbers()),
        "epochs has no meaning beside energy='experts': leave one of them out",
        lambda _: quick(energy="experts").fit(numbers()),
        lambda _: quick(epochs=3).fit(numbers()),
    ),
    case(
        "detectors/arguments.py:contradiction",
        lambda _: quick(epochs=3, speed="fast").fit(numbers()),
        "speed has no meaning beside (hidden|epochs): leave one of them out",
        lambda _: quick(epochs=3).fit(numbers()),
        lambda _: quick(energy="experts", speed="fast").fit(numbers()),
    ),
    case(
        "training/loop.py:_check",
        lambda _: dear(1e30).fit(numbers()),
        "try a smaller learning_rate than 1e[+]30",
        lambda _: dear(1e-3).fit(numbers()),
    ),
]

SEQUENCES = [
    case(
        "adapters/pyod.py:_one_a_row",
        lambda _: upland.as_pyod(small(Sequence, per="step")).fit(waves()),
        "fit with per='sequence'",
        lambda _: upland.as_pyod(small(Sequence, per="sequence")).fit(waves()),
    ),
    case(
        "scoring/episode_list.py:episodes",
        lambda _: upland.episodes(small(Sequence, per="sequence").fit(waves()), waves(4)),
        "fit series with per='step'",
        lambda _: upland.episodes(small(Sequence, per="step").fit(waves(90)), waves(4)),
    ),
    case(
        "data/sequence/container.py:_from_padded",
        lambda _: small(Sequence).fit(np.concatenate([waves(), np.full((1, 14, 2), np.nan)])),
        r"X\[24\]: no step is left, all values are NaN; leave it out",
        lambda _: small(Sequence).fit(waves()),
    ),
    case(
        "data/sequence/container.py:_from_frame",
        lambda _: small(Sequence, id="time", time="time").fit(long_frame()),
        "id and time name the same column",
        lambda _: small(Sequence, id="machine", time="time").fit(long_frame()),
    ),
    case(
        "data/sequence/longframes.py:find_column",
        lambda _: small(Sequence, id="machine", time="time").fit(long_frame().set_index("time")),
        r"use X\.reset_index\(\)",
        lambda _: small(Sequence, id="machine", time="time").fit(
            long_frame().set_index("time").reset_index()
        ),
    ),
    case(
        "data/sequence/longframes.py:read_stamps",
        lambda _: small(Sequence, id="machine", time="time").fit(long_frame().assign(time=named_days() * 2)),
        "turn it into dates or numbers, as pandas.to_datetime",
        lambda _: small(Sequence, id="machine", time="time").fit(
            long_frame().assign(time=[int(day.removeprefix("day ")) for day in named_days() * 2])
        ),
    ),
    case(
        "io/texts.py:_refuse_strays",
        lambda _: small(Sequence, time="t").fit(texts_of_time().assign(t=text_days("oops"))),
        "holds 'oops': correct that cell, or take out its row$",
        lambda _: small(Sequence, time="t").fit(texts_of_time()),
        lambda _: small(Sequence, time="t").fit(texts_of_time().drop(index=3)),
    ),
    case(
        "io/texts.py:_or_category",
        lambda _: small(Sequence, time="t").fit(texts_of_time().assign(t=text_days("4 Mar 2026"))),
        "write them alike$",
        lambda _: small(Sequence, time="t").fit(texts_of_time()),
    ),
    case(
        "io/texts.py:_date_form",
        lambda _: small(Sequence, time="t").fit(texts_of_time().iloc[:12].assign(t=doubtful_days())),
        "say which, dayfirst=True or dayfirst=False$",
        lambda _: small(Sequence, time="t", dayfirst=True).fit(
            texts_of_time().iloc[:12].assign(t=doubtful_days())
        ),
        lambda _: small(Sequence, time="t", dayfirst=False).fit(
            texts_of_time().iloc[:12].assign(t=doubtful_days())
        ),
    ),
    case(
        "data/sequence/longframes.py:_check_distinct",
        lambda _: small(Sequence, time="time", ignore=["machine"]).fit(long_frame()),
        r"name the column that identifies sequences \(id\), or drop or average such rows",
        lambda _: small(Sequence, time="time", id="machine").fit(long_frame()),
        lambda _: small(Sequence, time="time", ignore=["machine"]).fit(long_frame().drop_duplicates("time")),
        lambda _: small(Sequence, time="time").fit(
            long_frame().groupby("time", as_index=False)[["speed"]].mean()
        ),
    ),
    case(
        "data/sequence/clock.py:no_dates",
        lambda _: small(Sequence, calendar=True).fit(waves()),
        "calendar=True needs dates in a time column: name it with time",
        lambda _: small(Sequence, calendar=True, time="t").fit(dated()),
    ),
    case(
        "data/sequence/longframes.py:check_context",
        lambda _: small(Sequence, time="t", context=["t"]).fit(dated()),
        "context names 't', which is the time column: leave it out of context",
        lambda _: small(Sequence, time="t").fit(dated()),
    ),
    case(
        "data/sequence/sampling.py:check_sampling",
        lambda _: small(Sequence, time="t").fit(dated()).anomaly_score(dated(120)),
        "resample these to that of the fit",
        lambda _: small(Sequence, time="t").fit(dated()).anomaly_score(dated(30).iloc[::2]),
    ),
    case(
        "data/sequence/windows.py:_check_named",
        lambda _: small(Sequence, time="time").fit(waves()),
        "time='time' names a column of a frame, but X is an array: leave time out",
        lambda _: small(Sequence).fit(waves()),
    ),
    case(
        "detectors/baselines.py:warn_of_gaussians",
        lambda _: small(upland.FlowDetector, fallback="gaussian").fit(numbers(400, 40) ** 3),
        "use an EnergyDetector if normal rows are not one Gaussian cluster",
        lambda _: quick().fit(numbers(400, 40) ** 3),
    ),
    case(
        "detectors/sequence.py:_group_verdicts",
        lambda _: fitted(Sequence).score_groups(waves(), "machine"),
        r"groups=\[...\], one a sequence",
        lambda _: small(Sequence).fit(waves(90)).score_groups(waves(), [n % 2 for n in range(24)]),
    ),
    case(
        "detectors/sequence.py:_group_verdicts",
        lambda _: pairs(small(Sequence, window=7).fit(waves(90)), waves(), statistic="likelihood"),
        "fit with window=None",
        lambda _: pairs(small(Sequence, window=None).fit(waves(90)), waves(), statistic="likelihood"),
    ),
    case(
        "detectors/sequence_flow.py:_stretch_tester",
        lambda _: pairs(flow_of_steps(2), numbers(60)),
        "2 normal steps are kept .*: fit with keep_rows of at least 8$",
        lambda _: pairs(flow_of_steps(8), numbers(60)),
    ),
    case(
        "detectors/stream.py:check_state",
        lambda _: fitted(Sequence).score_next(fitted(Sequence).score_next(None, [0, 0]), [0, 0]),
        r"give its \.state",
        lambda _: fitted(Sequence).score_next(fitted(Sequence).score_next(None, [0, 0]).state, [0, 0]),
    ),
    case(
        "groups/stretches.py:_few_blocks",
        lambda _: halves(flow_of_steps(2000)),
        "2 held-out blocks of 20 steps are few: a group of 6, .*; calibrate on more normal data, of which "
        "keep_rows steps",
        lambda _: halves(flow_of_steps(2000).calibrate(numbers(1000))),
    ),
    case(
        "groups/tester.py:check_of_scores",
        lambda _: pairs(fitted(Sequence), waves(), statistic="mmd"),
        "statistic is one of .*'likelihood'",
        lambda _: pairs(small(Sequence).fit(waves(90)), waves(), statistic="likelihood"),
    ),
    case(
        "groups/tester.py:verdicts_from_scores",
        lambda _: pairs(fitted(Sequence), waves()),
        "fit on more sequences",
        lambda _: pairs(small(Sequence).fit(waves(90)), waves()),
    ),
    case(
        "groups/tester.py:verdicts_from_scores",
        lambda _: pairs(small(Sequence, per="step").fit(waves(90)), waves()),
        "fit with per='sequence'",
        lambda _: pairs(small(Sequence, per="sequence").fit(waves(90)), waves()),
    ),
]

IMAGES = [
    case(
        "export/detectors.py:_writer",
        lambda _: to_onnx(small(upland.ImageFlowDetector).fit(grey())),
        "fit with criterion='likelihood'",
        lambda _: to_onnx(small(upland.ImageFlowDetector, criterion="likelihood").fit(grey())),
    ),
    case(
        "detectors/architecture.py:of_classes",
        lambda _: of_two_classes(model=own_flow),
        "classes are of upland's own flow of images: leave model out",
        lambda _: of_two_classes(),
    ),
    case(
        "detectors/classes.py:_folders",
        lambda folder: small(upland.ImageFlowDetector).fit(in_folders(folder, [""]), classes="subfolders"),
        "24 of 24 images lie in no sub-folder: with classes='subfolders' each sub-folder is a class",
        lambda folder: small(upland.ImageFlowDetector).fit(
            in_folders(folder, ["left", "right"]), classes="subfolders"
        ),
    ),
    case(
        "detectors/classes.py:class_name",
        lambda _: of_two_classes([("left", 1), ("right", 2)]),
        "classes are texts or numbers, not tuple",
        lambda _: of_two_classes(["left", "right"]),
        lambda _: of_two_classes([1, 2]),
    ),
    case(
        "detectors/classes.py:names_of_classes",
        lambda _: small(upland.ImageFlowDetector).fit(grey(), classes="left"),
        "classes must be one label for each image, or 'subfolders', got 'left'",
        lambda _: of_two_classes(),
    ),
    case(
        "detectors/classes.py:classes_of",
        lambda _: of_two_classes(["left", "left"]),
        "there is one class, 'left': leave classes out, or give two at least",
        lambda _: of_two_classes(None),
        lambda _: of_two_classes(),
    ),
    case(
        "detectors/image_flow.py:calibrate",
        lambda _: of_two_classes().calibrate(grey()),
        "fitted with classes: calibrate it with classes",
        lambda _: of_two_classes().calibrate(grey(seed=1), classes=["left", "right"] * 12),
    ),
    case(
        "detectors/image_flow.py:calibrate",
        lambda _: of_two_classes(None).calibrate(grey(), classes=["left", "right"] * 12),
        "fitted without classes: calibrate it without classes",
        lambda _: of_two_classes(None).calibrate(grey(seed=1)),
    ),
    case(
        "detectors/image_flow.py:score_groups",
        lambda _: of_two_classes(None).score_groups(grey(), ["one"] * 24, classes="left"),
        "fitted without classes: fit with classes to test groups against one",
        lambda _: of_two_classes().score_groups(grey(), ["one"] * 24, classes="left"),
    ),
    case(
        "detectors/own_features.py:own_source",
        lambda folder: upland.load(stored_by_means(folder)),
        r"give what makes them as load\(path, features=module\)",
        lambda folder: upland.load(stored_by_means(folder), features=means),
    ),
    case(
        "detectors/own_features.py:own_source",
        lambda folder: upland.load(stored(fitted(Image), folder), features=means),
        "fitted without features of your own: leave features out",
        lambda folder: upland.load(stored(fitted(Image), folder)),
    ),
    case(
        "detectors/features/modules.py:copied",
        lambda _: by_features(NotCopied()),
        "give a function that calls it, with the module in evaluation mode",
        lambda _: by_features(lambda images: NotCopied().eval()(images)),
    ),
    case(
        "detectors/features/own.py:restore",
        lambda folder: upland.load(stored_by_means(folder), features=lambda images: means(images)),
        "give the module or function of the fit",
        lambda folder: upland.load(stored_by_means(folder), features=means),
    ),
    case(
        "export/images.py:encoded",
        lambda _: to_onnx(by_features("pixels")),
        "there is no graph of features of images: fit the deep energy, with energy='dsebm'",
        lambda _: to_onnx(small(Image, energy="dsebm").fit(grey())),
    ),
    case(
        "data/image/arrays.py:check_dtype",
        lambda _: small(Image).fit(grey().astype(np.int64)),
        r"use X\.astype\(np\.uint8\) for values from 0 to 255, np\.uint16 to 65535, or a float",
        *(
            lambda _, dtype=dtype: small(Image).fit(grey().astype(np.int64).astype(dtype))
            for dtype in (np.uint8, np.uint16, np.float32)
        ),
    ),
    case(
        "data/image/arrays.py:channels_last",
        lambda _: small(Image).fit(grey(channels=3)[:, :3]),
        r"the former as X\.transpose\(0, 2, 3, 1\), the latter as X\.transpose\(0, 3, 1, 2\)",
        lambda _: small(Image).fit(grey(channels=3)[:, :3].transpose(0, 2, 3, 1)),
        lambda _: small(Image).fit(grey(channels=3)[:, :3].transpose(0, 3, 1, 2)),
        lambda _: upland.ImageEncoder(channels="first").fit(grey(channels=3)[:, :3]),
        lambda _: upland.ImageEncoder(channels="last").fit(grey(channels=3)[:, :3]),
    ),
    case(
        "data/image/container.py:as_images",
        lambda _: fitted(Image).anomaly_score(pillow(grey()[0])),
        r"put it in a list, \[image\]",
        lambda _: fitted(Image).anomaly_score([pillow(grey()[0])]),
    ),
    case(
        "data/image/encoder.py:_check",
        lambda _: fitted(Image).anomaly_score(grey(height=10, width=9)),
        r"a fit with size=\(8, 7\) resizes",
        lambda _: small(Image, size=(8, 7)).fit(grey()).anomaly_score(grey(height=10, width=9)),
    ),
    case(
        "data/image/encoder.py:_check",
        lambda _: fitted(Image).anomaly_score(grey(channels=3)),
        "a fit with mode='grey' converts",
        lambda _: small(Image, mode="grey").fit(grey()).anomaly_score(grey(channels=3)),
    ),
    case(
        "data/image/encoder.py:decode",
        lambda _: contrast(like=False),
        "say like=the images",
        lambda _: contrast(like=True),
    ),
    case(
        "data/image/ignored.py:as_ignored",
        lambda _: ignoring(corner().astype(np.uint8)),
        r"ignore must be a boolean array .* got dtype uint8: as in mask > 0",
        lambda _: ignoring(corner().astype(np.uint8) > 0),
    ),
    case(
        "data/image/ignored.py:_some",
        lambda _: ignoring(np.ones((8, 7), dtype=bool)),
        "ignore leaves out every pixel: True is what is left out",
        lambda _: ignoring(corner()),
    ),
    case(
        "data/image/ignored.py:check_size",
        lambda _: ignoring(corner().T),
        "images of 8 x 7: give it in their size",
        lambda _: ignoring(corner()),
    ),
    case(
        "data/image/ignored.py:brought_to",
        lambda _: ignoring(np.arange(64).reshape(8, 8) % 2 > 0, size=(2, 2)),
        "ignore leaves no pixel of images of 2 x 2 that counts",
        lambda _: ignoring(corner(), size=(4, 4)),
    ),
    case(
        "data/image/ignored.py:not_black",
        lambda folder: ignoring(saved(seen_through(), folder / "mask.png")),
        "save it without alpha, black where nothing is marked",
        lambda folder: ignoring(saved(seen_through().convert("RGB"), folder / "mask.png")),
    ),
    case(
        "data/image/pixels.py:_checked_size",
        lambda _: small(Image, size=8).fit(grey()),
        r"size must be \(height, width\)",
        lambda _: small(Image, size=(8, 8)).fit(grey()),
    ),
    case(
        "detectors/points.py:encoded_with_labels",
        lambda _: fitted(Image).score_groups(grey(), "shift"),
        "give groups an array with the group of each",
        lambda _: pairs(small(Image).fit(grey(80)), grey()),
    ),
    case(
        "io/images.py:_opened",
        lambda folder: fitted(Image).anomaly_score(
            saved(pillow(np.zeros((9500, 9500), np.uint8)), folder / "large.png", compress_level=1)
        ),
        "make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS",
        lambda folder: fitted(Image).anomaly_score(saved(pillow(grey()[0]), folder / "small.png")),
    ),
    case(
        "io/images.py:_check_tiff",
        lambda folder: fitted(Image).anomaly_score(signed(folder)),
        "holds values of 8 bits with a sign: save it from 0 to 255",
        lambda folder: fitted(Image).anomaly_score(saved(pillow(grey()[0]), folder / "plain.tif")),
    ),
    case(
        "io/images.py:_pixel_type",
        lambda folder: fitted(Image).anomaly_score(frames(folder)),
        "save each as a file of its own",
        lambda folder: fitted(Image).anomaly_score(saved(pillow(grey()[0]), folder / "still.png")),
    ),
    case(
        "io/images.py:_pixel_type",
        lambda folder: fitted(Image).anomaly_score(
            saved(pillow(grey()[0]).convert("LAB"), folder / "printed.tif")
        ),
        "save it as grey or RGB",
        lambda folder: fitted(Image).anomaly_score(saved(pillow(grey()[0]), folder / "grey.png")),
    ),
]

GROUPS = [
    case(
        "groups/labels.py:grouped",
        lambda _: fitted().score_groups(numbers(), ["a", "b"]),
        "there are 120 rows, but groups names 2",
        lambda _: quick().fit(numbers(400)).score_groups(numbers(), ["a", "b"] * 60),
    ),
    case(
        "groups/labels.py:labels_in",
        lambda _: quick(categorical=["valve"]).fit(mixed(400)).score_groups(mixed(), "valve"),
        r"fit with ignore=\['valve'\]",
        lambda _: quick(ignore=["valve"]).fit(mixed(400)).score_groups(mixed(), "valve"),
    ),
    case(
        "groups/outputs.py:reference_rows",
        lambda _: pairs(quick(keep_rows=2).fit(numbers(400)), numbers()),
        "it takes 8: fit with keep_rows above that, and on more rows",
        lambda _: pairs(quick(keep_rows=100).fit(numbers(400)), numbers()),
    ),
    case(
        "groups/tester.py:check_statistic",
        lambda _: pairs(fitted(), numbers(), statistic="divergence"),
        "fit with a FlowDetector or a VAEDetector, or use one of the statistics 'auto'",
        lambda _: pairs(small(upland.FlowDetector).fit(numbers(400)), numbers(), statistic="divergence"),
        lambda _: pairs(small(upland.VAEDetector).fit(numbers(400)), numbers(), statistic="divergence"),
        lambda _: pairs(quick().fit(numbers(400)), numbers(), statistic="auto"),
    ),
    case(
        "groups/tester.py:held_out",
        lambda _: quick(keep_rows=0, criterion="energy").fit(numbers(400)).group_tester_.held_out(),
        "fit with keep_rows above 0",
        lambda _: quick(keep_rows=1, criterion="energy").fit(numbers(400)).group_tester_.held_out(),
    ),
    case(
        "groups/verdicts.py:_warn_of_resolution",
        lambda _: fitted().score_groups(numbers(), np.arange(120), alpha=0.001, control="false_alarm"),
        "fit or calibrate on more rows",
        lambda _: (
            quick(keep_rows=2000)
            .fit(numbers(6000))
            .score_groups(numbers(), np.arange(120), alpha=0.001, control="false_alarm")
        ),
        lambda _: (
            quick(keep_rows=2000)
            .fit(numbers())
            .calibrate(numbers(2000, seed=9))
            .score_groups(numbers(), np.arange(120), alpha=0.001, control="false_alarm")
        ),
    ),
    case(
        "groups/verdicts.py:to_frame",
        lambda _: without_pandas(pairs(quick().fit(numbers(400)), numbers(), alpha=0.5).to_frame),
        r"pip install 'upland\[pandas\]'",
        lambda _: pairs(quick().fit(numbers(400)), numbers(), alpha=0.5).to_frame(),
    ),
]


def pumps(names=("a", "b", "c"), **options):
    """A detector of segments, fitted on numbers of some pumps."""
    rows = pd.DataFrame(numbers(120, 2), columns=["flow", "load"]).assign(pump=[*names] * (120 // len(names)))
    return upland.SegmentedDetector(quick(), by="pump", **options).fit(rows)


def with_criterion(name):
    detector = pumps()
    detector.criterion = name
    return detector


def again(detector):
    names = ["a", "b", "c"] * 40
    return detector.fit(pd.DataFrame(numbers(120, 2), columns=["flow", "load"]).assign(pump=names))


def of_pump(name):
    return pd.DataFrame({"flow": [0.1], "load": [0.2], "pump": [name]})


SEGMENTS = (
    case(
        "data/table/segmentnames.py:segment_names",
        lambda folder: pumps().anomaly_score(pd.concat([of_pump("a"), of_pump(None)])),
        "1 of 2 rows have no 'pump', .* the first row 1: name it, or leave such rows out",
        lambda folder: pumps().anomaly_score(pd.concat([of_pump("a"), of_pump("b")])),
        lambda folder: pumps().anomaly_score(of_pump("a")),
    ),
    case(
        "data/table/segmentnames.py:_texts",
        lambda folder: pumps(names=(0.5, 1.5, 2.5)),
        "make it text, whole numbers or booleans",
        lambda folder: pumps(names=("0.5", "1.5", "2.5")),
        lambda folder: pumps(names=(5, 15, 25)),
        lambda folder: pumps(names=(True, False)),
    ),
    case(
        "explanation.py:explain",
        lambda folder: upland.explain(pumps(), of_pump("a"), "counterfactual"),
        "use how='shares', which says what contributes",
        lambda folder: upland.explain(pumps(), of_pump("a"), "shares"),
    ),
    case(
        "detectors/segmented.py:check_fitted",
        lambda folder: with_criterion("energy").anomaly_score(of_pump("a")),
        "fitted for criterion=.*: fit again",
        lambda folder: again(with_criterion("energy")).anomaly_score(of_pump("a")),
    ),
    case(
        "detectors/segmented.py:_segments_of",
        lambda folder: pumps(unseen="error").anomaly_score(of_pump("d")),
        "a fit with unseen='pooled' scores such rows by all segments together",
        lambda folder: pumps(unseen="pooled").anomaly_score(of_pump("d")),
        lambda folder: pumps(unseen="error").set_params(unseen="pooled").anomaly_score(of_pump("d")),
    ),
)

FILES = [
    case(
        "explanation.py:explain",
        lambda _: upland.explain(fitted(Image), grey(), how="counterfactual"),
        "use how='shares'",
        lambda _: upland.explain(fitted(Image), grey(), how="shares"),
    ),
    case(
        "explanation.py:explain",
        lambda _: upland.explain(fitted(), numbers(), how="shares", k=2),
        "leave them out with how='shares'",
        lambda _: upland.explain(fitted(), numbers(), how="shares"),
    ),
    case(
        "counterfactuals/result.py:to_frame",
        lambda _: without_pandas(upland.explain(fitted(), numbers(), "counterfactual").to_frame),
        r"pip install 'upland\[pandas\]'",
        lambda _: upland.explain(fitted(), numbers(), "counterfactual").to_frame(),
    ),
    case(
        "explanation.py:to_frame",
        lambda _: without_pandas(upland.explain(fitted(), numbers()).to_frame),
        r"pip install 'upland\[pandas\]'",
        lambda _: upland.explain(fitted(), numbers()).to_frame(),
    ),
    case(
        "io/csv_layout.py:_head",
        lambda folder: quick().fit(written(folder / "a.csv", numbers_as_csv().encode("utf-16"))),
        "save it as UTF-8",
        lambda folder: quick().fit(written(folder / "a.csv", numbers_as_csv().encode())),
    ),
    case(
        "io/modelfile.py:_check_format",
        lambda _: upland.load(STORED / "format-1.safetensors"),
        "fit again",
        lambda folder: upland.save(quick().fit(numbers()), folder / "m"),
    ),
    case(
        "io/replace.py:check_target",
        lambda folder: upland.save(fitted(), folder),
        "name a file in it",
        lambda folder: upland.save(fitted(), folder / "m"),
    ),
    case(
        "io/replace.py:check_target",
        lambda folder: upland.save(fitted(), written(folder / "a", b""), overwrite=False),
        "choose another name, or allow it to be overwritten",
        lambda folder: upland.save(fitted(), folder / "b", overwrite=False),
        lambda folder: upland.save(fitted(), written(folder / "a", b""), overwrite=True),
    ),
    case(
        "io/replace.py:check_target",
        lambda folder: upland.save(fitted(), folder / "models" / "m"),
        "make it first",
        lambda folder: ((folder / "models").mkdir(), upland.save(fitted(), folder / "models" / "m")),
    ),
    case(
        "persistence.py:save",
        lambda folder: upland.save(Own(**COMMON).fit(numbers()), folder / "m"),
        "save an estimator of upland",
        lambda folder: upland.save(fitted(), folder / "m"),
    ),
    case(
        "detectors/loading.py:restored",
        lambda folder: reloaded(folder, own_net),
        r"load\(path, model=module\)",
        lambda folder: reloaded(folder, own_net, model=own_net),
    ),
    case(
        "detectors/loading.py:restored",
        lambda folder: reloaded(folder, None, model=own_net),
        "leave model out",
        lambda folder: reloaded(folder, None),
    ),
    case(
        "training/checkpoint.py:_read",
        lambda folder: checkpointed(folder, "model"),
        "name another file",
        lambda folder: checkpointed(folder, "another"),
    ),
]


def numbers_as_csv():
    return pd.DataFrame(numbers(), columns=list("abcd")).to_csv(index=False)


ALIKE = "write (them|dates) alike"
UTC = dt.UTC
TEXTS = [
    case(
        "data/table/values.py:mixture_text",
        lambda _: with_cells(1.5, 2.0, 2.5, 1.0, 7.5, "stuck", b"x"[0]),
        r"correct that cell or leave it empty; .* make all of it text and name it, categorical=\['t'\]",
        lambda _: with_cells(1.5, 2.0, 2.5, 1.0, 7.5, 3.0),
        lambda _: with_cells(1.5, 2.0, 2.5, 1.0, 7.5, None),
        lambda _: with_cells("1.5", "2.0", "2.5", "stuck", categorical=["t"]),
    ),
    case(
        "data/table/learning.py:_what_is_read",
        lambda _: with_cells("30%", "12%", "7%"),
        r"categorical=\['t'\] makes it a category instead",
        lambda _: with_cells("30%", "12%", "7%", categorical=["t"]),
    ),
    case(
        "data/table/learning.py:_warn_of_codes",
        lambda _: with_cells("00501", "10001", "02139"),
        r"they are read as codes; categorical=\['t'\] says so",
        lambda _: with_cells("00501", "10001", "02139", categorical=["t"]),
    ),
    case(
        "data/table/learning.py:_set_zone",
        lambda _: batches_of_dates(None, "UTC"),
        ALIKE,
        lambda _: batches_of_dates("UTC", "UTC"),
    ),
    case(
        "data/table/values.py:_checked_moments",
        lambda _: with_cells(dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2, tzinfo=UTC)),
        ALIKE,
        lambda _: with_cells(dt.datetime(2026, 1, 1, tzinfo=UTC), dt.datetime(2026, 1, 2, tzinfo=UTC)),
    ),
    case(
        "io/casting.py:_dates",
        lambda folder: scored_stamps(folder, "Z", "Z", ""),
        ALIKE,
        lambda folder: scored_stamps(folder, "Z", "Z", "+02:00"),
    ),
    case(
        "io/texts.py:_refuse_strays",
        lambda _: with_cells(*(f"{n}%" for n in range(40)), "?"),
        r"correct that cell or leave it empty; missing=\['\?'\] reads it as a missing cell; .*categorical",
        lambda _: with_cells(*(f"{n}%" for n in range(40)), "7%"),
        lambda _: with_cells(*(f"{n}%" for n in range(40)), None),
        lambda _: with_cells(*(f"{n}%" for n in range(40)), "?", missing=["?"]),
        lambda _: with_cells("7%", "8%", "?", categorical=["t"]),
    ),
    case(
        "io/texts.py:_signs",
        lambda _: with_cells("1,250", "2,375"),
        r"say which, decimal='\.' or decimal=','; or categorical=\['t'\]",
        lambda _: with_cells("1,250", "2,375", decimal="."),
        lambda _: with_cells("1,250", "2,375", decimal=","),
        lambda _: with_cells("1,250", "2,375", categorical=["t"]),
    ),
    case(
        "io/texts.py:_or_category",
        lambda _: with_cells("1.234,5", "1,234.5"),
        f"{ALIKE}; or categorical=",
        lambda _: with_cells("1.234,5", "1.234,5", "3.000,25"),
        lambda _: with_cells("1.234,5", "1,234.5", categorical=["t"]),
    ),
    case(
        "io/texts.py:_plain_numbers",
        lambda _: with_cells("1.5", "2.5", "3.25"),
        r"convert it \(pandas\.to_numeric\(X\['t'\]\)\), or say decimal='\.' .*; or categorical=\['t'\]",
        lambda _: with_cells(*pd.to_numeric(pd.Series(["1.5", "2.5", "3.25"]))),
        lambda _: with_cells("1.5", "2.5", "3.25", decimal="."),
        lambda _: with_cells("1.5", "2.5", "3.25", categorical=["t"]),
    ),
    case(
        "io/texts.py:_date_form",
        lambda _: with_cells("3/4/2026", "5/6/2026"),
        r"say which, dayfirst=True or dayfirst=False; or categorical=\['t'\]",
        lambda _: with_cells("3/4/2026", "5/6/2026", dayfirst=True),
        lambda _: with_cells("3/4/2026", "5/6/2026", dayfirst=False),
        lambda _: with_cells("3/4/2026", "5/6/2026", categorical=["t"]),
    ),
]

DOUBTFUL = (
    case(
        "data/table/frames.py:_view_columns",
        lambda _: quick().fit(np.zeros((9, 2), dtype=[("a", float), ("b", float)])),
        r"use X\.ravel\(\)",
        lambda _: quick().fit(records((9, 2)).ravel()),
    ),
    case(
        "data/table/suspects.py:_advice",
        lambda _: quick().fit(mixed().assign(order=np.arange(120))),
        r"leave it out \(ignore=\['order'\]\)",
        lambda _: quick(ignore=["order"]).fit(mixed().assign(order=np.arange(120))),
    ),
    case(
        "data/table/suspects.py:_advice",
        lambda _: quick().fit(mixed().assign(at=hours())),
        r"use the hour, weekday and month of dates \(dates='parts'\)",
        lambda _: quick(dates="parts").fit(mixed().assign(at=hours())),
    ),
    case(
        "data/table/suspects.py:warn_of_dates",
        lambda _: quick(dates="drop").fit(mixed().assign(at=hours())),
        "dates='parts' uses their parts",
        lambda _: quick(dates="parts").fit(mixed().assign(at=hours())),
    ),
    case(
        "data/table/suspects.py:warn_of_sentinels",
        lambda _: quick().fit(sentinel()),
        r"missing=\[-9999\] says so",
        lambda _: quick(missing=[-9999.0]).fit(sentinel()),
    ),
    case(
        "data/table/learning.py:_finish_parts",
        lambda _: quick(dates="parts").fit(mixed().assign(at=hours()[:60].repeat(2).floor("30D"))),
        "dates='number' uses them as a number",
        lambda _: quick(dates="number").fit(mixed().assign(at=hours()[:60].repeat(2).floor("30D"))),
    ),
    case(
        "io/csv_layout.py:_check_names",
        lambda folder: quick().fit(written(folder / "a.csv", b"1.5,2.5\n" + plain_rows())),
        "add a line of names, or begin each name with a letter",
        lambda folder: quick().fit(written(folder / "b.csv", b"a,b\n1.5,2.5\n" + plain_rows())),
        lambda folder: quick().fit(written(folder / "c.csv", b"y1.5,y2.5\n" + plain_rows())),
    ),
    case(
        "io/csv_layout.py:_delimiter",
        lambda folder: quick().fit(written(folder / "a.csv", b"a b\n" + plain_rows(b" "))),
        "save it with commas, semicolons, tabs or vertical bars",
        *(
            lambda folder, by=by: quick().fit(written(folder / "b.csv", b"a" + by + b"b\n" + plain_rows(by)))
            for by in (b",", b";", b"\t", b"|")
        ),
    ),
    case(
        "io/csv_writer.py:_check_types",
        lambda folder: lists(folder / "a.csv"),
        r"name a \.parquet or \.arrow file",
        lambda folder: lists(folder / "a.parquet"),
        lambda folder: lists(folder / "a.arrow"),
    ),
    case(
        "io/formats.py:_open_local",
        lambda folder: open_source([folder]),
        "name the files in it",
        lambda folder: open_source([written(folder / "a.csv", b"a,b\n" + plain_rows())]),
    ),
    case(
        "io/places.py:is_place_of_rows",
        lambda folder: is_place_of_rows(rows_and_image(folder, folder)),
        "put them into folders of their own",
        lambda folder: is_place_of_rows(rows_and_image(folder / "rows", folder / "images")),
    ),
    case(
        "io/replace.py:followed",
        lambda folder: upland.save(fitted(), loop(folder / "a")),
        "name a file",
        lambda folder: upland.save(fitted(), folder / "b"),
    ),
    case(
        "io/replace.py:alone",
        lambda folder: while_written(folder / "a", folder / "a"),
        "choose another name",
        lambda folder: while_written(folder / "a", folder / "b"),
    ),
    case(
        "scoring/scorer.py:_without_clash",
        lambda folder: scored_twice(folder),
        "rename them, or say replace_columns=True",
        lambda folder: scored_twice(folder, replace_columns=True),
    ),
)

CASES = {
    f"{it.site} {it.words[:30]}": it
    for it in (*TABLES, *SEGMENTS, *TEXTS, *SEQUENCES, *IMAGES, *GROUPS, *FILES, *DOUBTFUL)
}


REFUSALS = (ValueError, TypeError, OSError, ImportError, FloatingPointError)


def outcome(call, folder):
    """The errors and warnings of a call as one text, and the error."""
    refused = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call(folder)
        except REFUSALS as error:
            refused = error
    return " ".join(map(str, [*(warning.message for warning in caught), refused])), refused
