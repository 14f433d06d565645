"""Forged model files, their digest computed again: refused before anything is built, by one type of error.

The digest guards a file against damage, not against an author. So whatever the plan, the members and the
tensors say is checked against each other.
"""

import copy
import os
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

import upland
from estimators import EXAMPLES, EXPERTS, FEATURES
from upland.detectors.architectures import ARCHITECTURES
from upland.io import modelfile
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors
from upland.persistence import load_bytes

STORED = {
    path.stem: path for path in sorted((Path(__file__).parent / "stored" / "format-2").glob("*.safetensors"))
}
SMALL = [*STORED, EXPERTS, FEATURES]
MANY = 10**12

files = pytest.mark.parametrize("name", SMALL)


@cache
def _fresh(name):
    with tempfile.TemporaryDirectory() as folder:
        rows = EXAMPLES[name].rows
        rows = rows[:110] if name == FEATURES else rows.assign(lamp=rows["valve"])
        detector = EXAMPLES[name].make().fit(rows)
        upland.save(detector, Path(folder) / "m")
        return read_tensors(Path(folder) / "m")


def small(name):
    """Tensors and manifest of a small file of an estimator: a stored one, or one of this version."""
    tensors, manifest = read_tensors(STORED[name]) if name in STORED else _fresh(name)
    return dict(tensors), copy.deepcopy(manifest)


def refused(path, tensors, manifest, match=None):
    """Whether the file is refused, whatever the digest says."""
    manifest = manifest | {"tensors": {k: [v.dtype.name, list(v.shape)] for k, v in tensors.items()}}
    write_tensors(path, tensors, manifest)
    refused_both_ways(path, match)


def refused_both_ways(path, match):
    """The error of a file; of its bytes in memory it has the same reason."""
    with pytest.raises(TensorFileError, match=match) as caught:
        upland.load(path)
    with pytest.raises(TensorFileError) as by_bytes:
        load_bytes(path.read_bytes(), path)
    assert by_bytes.value.reason == caught.value.reason
    return caught.value


def with_sizes(manifest, sizes):
    """The plan and the members ask for other sizes."""
    manifest = copy.deepcopy(manifest)
    for record in [manifest["plan"]["architecture"], *(m["architecture"] for m in manifest["members"])]:
        record.update(sizes)
    return manifest


def with_encoder(manifest, **fields):
    manifest = copy.deepcopy(manifest)
    for member in manifest["members"]:
        member["encoder"].update(fields)
    return manifest


HUGE = [
    ("EnergyDetector", {"hidden": [30_000, 30_000]}),
    ("EnergyDetector", {"hidden": [1] * 20_000}),
    ("EnergyDetector", {"n_nets": MANY}),
    (EXPERTS, {"parts": ["local"]}),
    (EXPERTS, {"parts": ["local", "local"]}),
    (EXPERTS, {"parts": ["conditional"] * 20_000}),
    ("FlowDetector", {"layers": MANY}),
    ("FlowDetector", {"hidden": [40_000, 40_000]}),
    ("VAEDetector", {"hidden": [40_000, 40_000]}),
    ("VAEDetector", {"latent": MANY}),
    ("SequenceEnergyDetector", {"frame": MANY}),
    ("SequenceEnergyDetector", {"hidden": [40_000, 40_000]}),
    ("ImageEnergyDetector", {"n_centres": MANY}),
    ("ImageEnergyDetector", {"filters": [16] * 20_000}),
    ("ImageEnergyDetector", {"kernel_size": 8_001}),
    ("ImageFlowDetector", {"levels": MANY}),
    ("ImageFlowDetector", {"depth": MANY}),
    ("ImageFlowDetector", {"tones": MANY}),
    ("ImageVAEDetector", {"filters": [10**6, 10**6]}),
    ("ImageVAEDetector", {"latent": MANY}),
]


@pytest.fixture
def built(monkeypatch):
    """The architectures that were built."""
    _fresh(EXPERTS)
    found = []
    for architecture in ARCHITECTURES.values():
        if not architecture.own:
            build = architecture.build
            monkeypatch.setattr(
                architecture, "build", lambda self, *given, b=build: found.append(self) or b(self, *given)
            )
    return found


@pytest.mark.parametrize(("name", "sizes"), HUGE, ids=[f"{name} {sizes}"[:60] for name, sizes in HUGE])
def test_a_plan_that_asks_for_more_than_the_tensors_builds_nothing(name, sizes, built, tmp_path):
    tensors, manifest = small(name)
    refused(tmp_path / "m", tensors, with_sizes(manifest, sizes), "must be|another architecture")
    assert built == []


@pytest.mark.parametrize("parts", [["no"], [], ["local", "no"], "local", [["local"]], None])
def test_parts_that_there_are_not_are_refused(parts, built, tmp_path):
    tensors, manifest = small(EXPERTS)
    refused(tmp_path / "m", tensors, with_sizes(manifest, {"parts": parts}))
    assert built == []


@pytest.mark.parametrize("shape", [[10**6, 10**6, 1], [16_383, 16_383, 1], [2, 2**26 + 1, 1]])
def test_sides_of_images_are_bounded(shape, built, tmp_path):
    tensors, manifest = small("ImageFlowDetector")
    refused(tmp_path / "m", tensors, with_encoder(manifest, shape=shape))
    refused(tmp_path / "m", tensors, with_encoder(manifest, size=[10**7, 10**7]))
    assert built == []


def places(value, at=()):
    """Where the values of plain data are; of a list the first one."""
    inner = value.items() if isinstance(value, dict) else []
    for key, part in list(enumerate(value))[:1] if isinstance(value, list) else inner:
        yield (*at, key)
        yield from places(part, (*at, key))


def with_value(manifest, at, *value):
    """Another value at a place; none takes the place out."""
    changed, first = copy.copy(manifest), at[0]
    if len(at) > 1:
        changed[first] = with_value(manifest[first], at[1:], *value)
    elif value:
        changed[first] = value[0]
    else:
        del changed[first]
    return changed


@cache
def _timed():
    """The file of a detector of steps, with all that its manifest may hold."""
    rng = np.random.default_rng(0)
    times = pd.Timestamp("2026-03-02") + pd.to_timedelta(rng.exponential(60, 300).cumsum(), unit="s")
    frame = pd.DataFrame({"t": times, "a": rng.normal(size=300), "b": rng.normal(size=300)})
    options = {"window": 20, "smoothing": 1, "epochs": 1, "hidden": (2,), "criterion": "max_channel"}
    detector = upland.SequenceEnergyDetector(
        time="t", calendar=True, context=["b"], calibration="split", random_state=0, **options
    ).fit(frame)
    with tempfile.TemporaryDirectory() as folder:
        upland.save(detector, Path(folder) / "m")
        return read_tensors(Path(folder) / "m")


WRONG = {"lacking": (), "null": (None,), "a list": ([],)}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", ["steps", EXPERTS, FEATURES, "ImageFlowDetector"])
def test_a_value_of_another_type_is_refused_in_words(name, value, tmp_path):
    """Each of the manifest, one by one; what may be left out or be of several types loads."""
    tensors, manifest = _timed() if name == "steps" else small(name)
    said = []
    for at in places(manifest):
        if at[0] not in ("tensors", "versions", "content") and (at[0] != "arguments" or len(at) == 1):
            write_tensors(tmp_path / "m", tensors, with_value(manifest, at, *value))
            said += [(at, text) for text in reasons_of(tmp_path / "m")]
    assert len(said) > 20
    assert [(at, text) for at, text in said if ": ValueError: " not in text] == []


def reasons_of(path):
    """What is said of a file that is refused; nothing where it is not."""
    try:
        upland.load(path)
    except TensorFileError as error:
        return [str(error)]
    return []


@files
def test_a_number_that_is_none_anywhere_is_refused(name, tmp_path):
    """NaN in any tensor of a detector, one by one, and a whole number that is out of its range."""
    tensors, manifest = small(name)
    for place, value in tensors.items():
        if not value.size:
            continue
        other = value.copy()
        other.reshape(-1)[-1] = np.nan if value.dtype.kind == "f" else 10**9
        refused(tmp_path / "m", tensors | {place: other}, manifest)


@files
def test_a_tensor_of_another_type_shape_or_name_is_refused(name, tmp_path):
    tensors, manifest = small(name)
    for place, value in tensors.items():
        dtype = np.float64 if value.dtype == np.float32 else np.float32
        without = {k: v for k, v in tensors.items() if k != place}
        optional = ("/rows/" in place and len(manifest["members"]) == 1) or place.endswith(
            ("/folds", "/band")
        )
        for other in (
            tensors | {place: value.astype(dtype)},
            tensors | {place: value[None]},
            tensors | {f"{place}x": value},
            *([] if optional else [without]),
        ):
            refused(tmp_path / "m", other, manifest)


@pytest.mark.parametrize("shape", [[3, 7_000_001, 1], [7_000_001, 3, 1]])
def test_a_flow_of_large_images_takes_no_memory_of_their_size(shape, tmp_path, monkeypatch):
    """Its weights do not go by the sides of the images, and no reference rows are kept."""
    tensors, manifest = read_tensors(make_flow(tmp_path))
    wide = with_encoder(manifest, shape=shape)
    write_tensors(tmp_path / "m", tensors, wide)
    made = []
    monkeypatch.setattr(
        torch, "arange", lambda *given, f=torch.arange, **named: made.append(given) or f(*given, **named)
    )
    assert upland.load(tmp_path / "m").encoder_.shape == (1, *shape[:2])
    assert made == []


def make_flow(folder):
    pictures = np.random.default_rng(0).integers(0, 256, (20, 3, 5), dtype=np.uint8)
    flow = upland.ImageFlowDetector(
        levels=1, depth=1, filters=2, keep_rows=0, epochs=1, random_state=0, criterion="likelihood"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upland.save(flow.fit(pictures), folder / "flow")
    return folder / "flow"


@pytest.mark.parametrize("value", [1e30, -1e30])
@pytest.mark.parametrize(
    "name", ["EnergyDetector", EXPERTS, FEATURES, "FlowDetector", "VAEDetector", "ImageFlowDetector"]
)
def test_weights_that_give_no_finite_number_are_refused(name, value, tmp_path):
    tensors, manifest = small(name)
    weights = {
        k: np.full_like(v, value) for k, v in tensors.items() if "/model/" in k and v.dtype.kind == "f"
    }
    refused(tmp_path / "m", tensors | weights, manifest)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("FlowDetector", "0/model/bijections.1.permutation"),
        ("FlowDetector", "0/model/bijections.1.signs"),
        ("ImageFlowDetector", "0/model/levels.0.channels.permutations"),
        ("ImageFlowDetector", "0/model/tones.heights"),
        ("EnergyDetector", "0/model/prior.bandwidths"),
        ("EnergyDetector", "0/model/normal_deviations"),
        ("EnergyDetector", "0/model/prior.ranks.slopes"),
        (EXPERTS, "0/model/normal_deviations"),
        (EXPERTS, "0/model/parts.distance.bandwidths"),
        (EXPERTS, "0/model/parts.local.usual_distance"),
        (EXPERTS, "0/model/parts.whitened.scale"),
        (EXPERTS, "0/model/parts.unseen.used"),
        (EXPERTS, "0/model/parts.unseen.weights"),
        (EXPERTS, "0/model/parts.unseen.keys"),
        (EXPERTS, "0/model/parts.pairs.used"),
        (EXPERTS, "0/model/parts.pairs.keys"),
        (EXPERTS, "0/model/parts.pairs.members"),
        (EXPERTS, "0/model/parts.pairs.pairs"),
        (EXPERTS, "0/model/parts.pairs.weights"),
        (FEATURES, "0/model/normal_deviations"),
        (FEATURES, "0/model/weights"),
        (FEATURES, "0/model/parts.kernel 0.bandwidths"),
        (FEATURES, "0/model/parts.kernel 1.scale"),
        (FEATURES, "0/model/parts.gaussian 1.variances"),
        (FEATURES, "0/model/parts.gaussian 1.rest"),
        (FEATURES, "0/model/parts.patches.deviations"),
        (FEATURES, "0/model/parts.patches.scale"),
        (FEATURES, "0/encoder/pixels/scale"),
        ("SequenceEnergyDetector", "0/criteria/max_channel/step/usual"),
        ("SequenceEnergyDetector", "0/criteria/score_test/step/16/unit"),
        ("ImageEnergyDetector", "0/encoder/mean"),
        ("ImageVAEDetector", "0/encoder/scale"),
        ("VAEDetector", "calibration/row/folds"),
    ],
)
def test_values_that_no_fit_gives_are_refused(name, place, tmp_path):
    tensors, manifest = small(name)
    refused(tmp_path / "m", tensors | {place: -np.abs(tensors[place]) - 1}, manifest)


def test_features_that_are_huge_are_refused_or_give_finite_scores(tmp_path):
    """Each tensor of a detector of features, one by one, in one place and in all."""
    tensors, manifest = small(FEATURES)
    new, loaded = EXAMPLES[FEATURES].new[:2], 0
    for place, before in tensors.items():
        for which in (slice(-1, None), slice(None)):
            if before.size and before.dtype.kind == "f":
                other = before.copy()
                other.reshape(-1)[which] = 1e30
                write_tensors(tmp_path / "m", tensors | {place: other}, manifest)
                if not reasons_of(tmp_path / "m"):
                    assert np.isfinite(upland.load(tmp_path / "m").anomaly_score(new)).all(), place
                    loaded += 1
    assert loaded


@pytest.mark.parametrize("features", ["auto", "no", "efficientnet-lite0", None, ["pixels"], 3])
def test_features_of_another_name_are_refused(features, tmp_path):
    tensors, manifest = small(FEATURES)
    manifest["plan"]["reader"]["features"] = features
    refused(tmp_path / "m", tensors, manifest)


@pytest.mark.parametrize("other", sorted(STORED))
@files
def test_the_plan_of_another_estimator_is_refused(name, other, tmp_path):
    tensors, manifest = small(name)
    if other != manifest["detector"]:
        refused(tmp_path / "m", tensors, manifest | {"detector": other})


@pytest.mark.parametrize("name", ["fit", "__class__", "anomaly_score", "_is_fitted", "model"])
def test_no_name_in_a_file_becomes_an_attribute(name, tmp_path):
    tensors, manifest = small("EnergyDetector")
    arguments = manifest["arguments"] | {name: "word"}
    refused(tmp_path / "m", tensors, manifest | {"arguments": arguments}, "unknown arguments")


# -- the text and the file -----------------------------------------------------------------------------------


TEXTS = {
    "NaN": lambda text: text.replace('"rows":120', '"rows":NaN'),
    "infinity": lambda text: text.replace('"rows":120', '"rows":-Infinity'),
    "too large": lambda text: text.replace('"rows":120', '"rows":1e999'),
    "digits": lambda text: text.replace('"rows":120', '"rows":' + "9" * 5_000),
    "twice": lambda text: text.replace('"rows":120', '"rows":120,"rows":120'),
    "deep": lambda text: text.replace('"rows":120', '"rows":' + "[" * 990 + "]" * 990),
    "very deep": lambda text: text.replace('"rows":120', '"rows":' + "[" * 10**6 + "]" * 10**6),
    "many lists": lambda text: text.replace('"rows":120', '"rows":[' + "[]," * 10**6 + "1]"),
    "cut off": lambda text: text[:-1],
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_manifest_that_is_no_plain_json_is_refused(case, tmp_path):
    tensors, manifest = small("EnergyDetector")
    before = modelfile._canonical(manifest)
    text = TEXTS[case](before)
    assert text != before
    whole = f'{{"format":{modelfile.FORMAT},"manifest":{text},"sha256":"{"0" * 64}"}}'
    save_file(tensors, tmp_path / "m", {"upland": whole})
    assert refused_both_ways(tmp_path / "m", "is not readable").reason == "corrupted"


def test_a_message_holds_nothing_that_a_terminal_acts_on(tmp_path):
    tensors, manifest = small("EnergyDetector")
    for key in ("detector", "content", "versions"):
        evil = {"upland": "\x1b[31m" * 9_000} if key == "versions" else "\x1b[31m" * 9_000
        write_tensors(tmp_path / "m", tensors, manifest | {key: evil, "offset": None})
        with pytest.raises(TensorFileError) as caught:
            upland.load(tmp_path / "m")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 700 + len(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are of POSIX")
def test_what_is_no_regular_file_is_refused_by_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, what in (
        ("/dev/zero", "is a character device"),
        (tmp_path / "pipe", "is a pipe"),
        (tmp_path / "loop", "is a symbolic link that leads to itself"),
    ):
        with pytest.raises(TensorFileError, match=what) as caught:
            upland.load(path)
        assert caught.value.reason == "special"


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="the system does not say where holes are")
def test_a_file_of_holes_is_refused_unread(tmp_path):
    for start in (b"", (10**6).to_bytes(8, "little") + b"{"):
        with open(tmp_path / "sparse", "wb") as file:
            file.write(start)
            file.truncate(1 << 36)
        with pytest.raises(TensorFileError, match="is a file of holes"):
            upland.load(tmp_path / "sparse")


def test_a_header_is_bounded_by_the_tensors(tmp_path, monkeypatch):
    tensors, manifest = small("EnergyDetector")
    write_tensors(tmp_path / "m", tensors, manifest | {"more": ["ab"] * 10**6})
    monkeypatch.setattr(modelfile, "_LONGEST_HEADER", 1 << 20)
    monkeypatch.setattr(modelfile, "_opened", None)  # nothing is parsed
    with pytest.raises(TensorFileError, match="is longer than its tensors allow"):
        upland.load(tmp_path / "m")
