"""One file, and back: the same bits here and in a new process, and nothing but what `save` wrote is taken."""

import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError

import upland
from laws import scores_in_a_new_process
from normals import mixed, numbers, quick, with_criterion
from programs import run_python
from upland.io import modelfile
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors

NEW = mixed(300, seed=1)


def with_many_levels(count=900):
    rng = np.random.default_rng(3)
    return mixed(count).assign(code=[f"läuft {n:04d}" for n in rng.integers(0, 400, count)])


def with_missing():
    rows = mixed(200)
    rows.loc[::5, "flow"] = np.nan
    rows["since"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(
        np.random.default_rng(0).integers(0, 60, 200), unit="h"
    )
    return rows


CASES = {
    "experts": lambda: (quick(energy="experts"), mixed()),
    "experts, cross": lambda: (quick(energy="experts", calibration="cross"), mixed()),
    "some experts": lambda: (quick(energy="experts", parts=["pairs", "whitened"]), mixed()),
    "fast experts": lambda: (quick(energy="experts", speed="fast"), with_missing()),
    "experts on dates": lambda: (quick(energy="experts", dates="parts"), with_missing()),
    "experts on one column": lambda: (quick(energy="experts"), numbers(columns=1)),
    "split": lambda: (quick(), mixed()),
    "cross": lambda: (quick(calibration="cross"), mixed()),
    "energy": lambda: (quick(criterion="energy"), mixed()),
    "sliced": lambda: (quick(objective="sliced", hidden=[4]), mixed()),
    "array": lambda: (quick(), numbers()),
    "contamination": lambda: (quick(contamination=0.2, noise=0.3, hidden=np.array([8, 4])), mixed()),
    "ignored and categorical": lambda: (quick(ignore=["flow"], categorical=["steps"]), mixed()),
    "missing and dates": lambda: (quick(), with_missing()),
    "large vocabulary": lambda: (quick(categorical=["code"]), with_many_levels()),
    "no seed": lambda: (quick(random_state=None), mixed()),
    "random state": lambda: (quick(random_state=np.random.RandomState(3)), mixed()),
    "calibrated again": lambda: (quick(calibration="cross"), mixed()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_after_reload(case, tmp_path):
    detector, rows = CASES[case]()
    detector.fit(rows)
    if case == "calibrated again":
        detector.calibrate(mixed(60, seed=8))
    upland.save(detector, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")
    for method in ("anomaly_score", "p_values", "decision_function", "predict"):
        np.testing.assert_array_equal(getattr(again, method)(rows), getattr(detector, method)(rows))
    np.testing.assert_array_equal(upland.explain(again, rows).shares, upland.explain(detector, rows).shares)
    assert again.offset_ == detector.offset_
    assert again.n_features_in_ == detector.n_features_in_
    assert ("feature_names_in_" in vars(again)) == ("feature_names_in_" in vars(detector))
    plain = {"random_state": detector.random_state if isinstance(detector.random_state, int) else None}
    loaded, saved = again.info(), detector.info()
    loaded["settings"] |= plain
    saved["settings"] |= plain
    assert loaded == saved


@pytest.mark.parametrize("name", ["model.safetensors", "model", "mod el.ü.safetensors"])
def test_saved_twice_is_the_same_file(name, tmp_path):
    detector = quick().fit(mixed())
    upland.save(detector, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    upland.save(upland.load(tmp_path / name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_same_bits_in_a_new_process(tmp_path):
    rows = numbers(300, seed=3) * 2
    np.save(tmp_path / "rows.npy", rows)
    paths, expected = [], []
    for kind in ("split", "cross"):
        for criterion in ("experts", "reconstruction", "energy"):
            detector = quick(calibration=kind, **with_criterion(criterion)).fit(numbers())
            paths.append(tmp_path / f"{kind}-{criterion}.safetensors")
            upland.save(detector, paths[-1])
            expected.append(list(detector.assess(rows)))
    np.testing.assert_array_equal(scores_in_a_new_process(paths, tmp_path / "rows.npy"), np.array(expected))


def test_a_reloaded_detector_goes_on(tmp_path):
    upland.save(quick().fit(mixed()), tmp_path / "m")
    again = upland.load(tmp_path / "m")
    again.calibrate(mixed(60, seed=9)).flag(NEW)
    np.testing.assert_array_equal(
        again.fit(mixed()).anomaly_score(NEW), quick().fit(mixed()).anomaly_score(NEW)
    )


def test_an_existing_file_is_replaced_only_where_that_is_wanted(tmp_path):
    detector = quick().fit(mixed())
    upland.save(detector, tmp_path / "m")
    with pytest.raises(FileExistsError, match="exists already"):
        upland.save(detector, tmp_path / "m", overwrite=False)
    upland.save(detector, tmp_path / "m")


def test_nothing_is_saved_without_a_fit(tmp_path):
    with pytest.raises(NotFittedError):
        upland.save(quick(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_other_readers_can_look_at_the_weights(tmp_path):
    detector = quick().fit(mixed())
    upland.save(detector, tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(
        tensors["0/model/weights.0"], detector.models_[0].weights[0].detach().numpy()
    )
    np.testing.assert_array_equal(tensors["calibration/row/scores"], detector.calibration_.scores)


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    upland.save(quick().fit(mixed()), path)
    return path.read_bytes()


def refused(path, reason):
    with pytest.raises(TensorFileError) as caught:
        upland.load(path)
    assert caught.value.reason == reason, caught.value
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.6, 0.99, 0.9999])
def test_a_truncated_file(share, saved, tmp_path):
    (tmp_path / "m").write_bytes(saved[: int(len(saved) * share)])
    refused(tmp_path / "m", "truncated")


@pytest.mark.parametrize("place", np.linspace(9, 1, 40).tolist())
def test_a_flipped_bit_is_never_read_as_a_model(place, saved, tmp_path):
    position = int((len(saved) - 1) * (place - 1) / 8)
    data = bytearray(saved)
    data[position] ^= 1 << (position % 8)
    (tmp_path / "m").write_bytes(data)
    (tmp_path / "whole").write_bytes(saved)
    try:
        read = upland.load(tmp_path / "m")
    except TensorFileError as error:
        reason = error.reason
    else:  # another spelling of the same: 1e-05 has become 1E-05
        assert read.info() == upland.load(tmp_path / "whole").info()
        assert np.array_equal(read.p_values(mixed()), upland.load(tmp_path / "whole").p_values(mixed()))
        return
    assert reason in ("corrupted", "truncated", "foreign"), position


def test_a_flipped_bit_among_the_weights_is_corruption(saved, tmp_path):
    data = bytearray(saved)
    data[-100] ^= 1
    (tmp_path / "m").write_bytes(data)
    refused(tmp_path / "m", "corrupted")


def test_an_edited_manifest_is_corruption(saved, tmp_path):
    edited = re.sub(rb'\\"offset\\":-?\d', lambda found: found.group()[:-1] + b"9", saved, count=1)
    assert edited != saved
    (tmp_path / "m").write_bytes(edited)
    refused(tmp_path / "m", "corrupted")


def foreign_safetensors(path):
    save_file({"w": np.ones(3)}, path)


def trap(path):
    """A pickle that would leave a trace if it were opened."""

    class Trap:
        def __reduce__(self):
            return open, (str(path) + ".opened", "w")

    path.write_bytes(pickle.dumps(Trap()))


FOREIGN = {
    "another safetensors file": foreign_safetensors,
    "pickle": trap,
    "torch archive": lambda path: torch.save({"w": torch.ones(2)}, path),
    "text": lambda path: path.write_text("flow,pressure\n1,2\n" * 9),
    "checkpoint": lambda path: quick().fit(mixed(), checkpoint=path),
    "other upland file": lambda path: write_tensors(path, {"a": np.ones(2)}, {"content": "letters"}),
    "upland file of nothing": lambda path: write_tensors(path, {}, {}),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file(case, tmp_path):
    FOREIGN[case](tmp_path / "m")
    refused(tmp_path / "m", "foreign")
    assert not (tmp_path / "m.opened").exists()


def test_a_checkpoint_is_called_by_its_name(tmp_path):
    quick().fit(mixed(), checkpoint=tmp_path / "c")
    with pytest.raises(TensorFileError, match="holds a checkpoint, not a detector"):
        upland.load(tmp_path / "c")


def test_a_newer_format(saved, tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(saved)
    tensors, manifest = read_tensors(tmp_path / "m")
    monkeypatch.setattr(modelfile, "FORMAT", modelfile.FORMAT + 1)
    write_tensors(tmp_path / "m", tensors, manifest)
    monkeypatch.undo()
    refused(tmp_path / "m", "newer")


def test_a_detector_of_a_newer_upland(saved, tmp_path):
    (tmp_path / "m").write_bytes(saved)
    tensors, manifest = read_tensors(tmp_path / "m")
    manifest["detector"] = "GraphDetector"
    manifest["versions"]["upland"] = "9.0"
    write_tensors(tmp_path / "m", tensors, manifest)
    refused(tmp_path / "m", "newer")
    with pytest.raises(TensorFileError, match=r"of upland 9\.0 cannot be read .*no estimator GraphDetector"):
        upland.load(tmp_path / "m")


def test_an_argument_of_a_newer_upland(saved, tmp_path):
    (tmp_path / "m").write_bytes(saved)
    tensors, manifest = read_tensors(tmp_path / "m")
    manifest["arguments"]["temperature"] = 0.5
    manifest["versions"]["upland"] = "9.0"
    write_tensors(tmp_path / "m", tensors, manifest)
    with pytest.raises(TensorFileError, match="temperature"):
        upland.load(tmp_path / "m")
    refused(tmp_path / "m", "newer")


def _places(value, path=()):
    """Every place in nested plain data."""
    found = [path] if path else []
    if isinstance(value, dict):
        return found + [place for key in value for place in _places(value[key], (*path, key))]
    if isinstance(value, list) and value:
        return found + _places(value[0], (*path, 0))
    return found


def _edited(manifest, place, edit):
    """The manifest with one place removed, or put to something else."""
    manifest = json.loads(json.dumps(manifest))
    at = manifest
    for key in place[:-1]:
        at = at[key]
    if edit == "removed":
        del at[place[-1]]
    else:
        at[place[-1]] = edit
    return manifest


@pytest.mark.parametrize("edit", ["removed", None, [], "word", -1, {"a": 1}], ids=str)
def test_a_manifest_of_another_shape_gives_a_detector_or_a_file_error(edit, saved, tmp_path):
    """Whatever another version, or a hand, has written into it with a digest that is right."""
    (tmp_path / "m").write_bytes(saved)
    tensors, manifest = read_tensors(tmp_path / "m")
    places = _places(manifest)
    assert len(places) > 60
    refused_count = 0
    for place in places:
        write_tensors(tmp_path / "m", tensors, _edited(manifest, place, edit))
        try:
            upland.load(tmp_path / "m")
        except TensorFileError:
            refused_count += 1
    assert refused_count > len(places) // 4


def test_tensors_that_lack_or_are_shorter_are_corruption(saved, tmp_path):
    (tmp_path / "m").write_bytes(saved)
    tensors, manifest = read_tensors(tmp_path / "m")
    for name, tensor in tensors.items():
        others = [{k: v for k, v in tensors.items() if k != name}]
        others += [tensors | {name: tensor[:-1]}] if tensor.ndim else []
        for other in others:
            write_tensors(tmp_path / "m", other, manifest)
            refused(tmp_path / "m", "corrupted")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("offset", None),
        ("offset", "word"),
        ("calibrated", []),
        ("plan", {"criteria": {}}),
        ("plan", {"unit": "x"}),
    ],
    ids=str,
)
def test_a_manifest_without_what_scores_need_is_a_file_error(place, value, saved, tmp_path):
    (tmp_path / "m").write_bytes(saved)
    tensors, manifest = read_tensors(tmp_path / "m")
    manifest[place] = manifest[place] | value if isinstance(value, dict) else value
    write_tensors(tmp_path / "m", tensors, manifest)
    refused(tmp_path / "m", "newer")


def test_a_class_of_ones_own_is_refused_before_a_file_is_written(tmp_path):
    class Derived(upland.EnergyDetector):
        pass

    with pytest.raises(TypeError, match="Derived is a class of your own"):
        upland.save(Derived(epochs=1, random_state=0).fit(mixed()), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_missing_empty_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        upland.load(tmp_path / "absent")
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "empty")
    refused(tmp_path, "directory")


def test_no_module_that_could_unpickle_is_used(saved, tmp_path):
    (tmp_path / "m").write_bytes(saved)
    code = (
        "import pickle, sys\n"
        "import upland.persistence\n"
        "def no(*_, **__): raise SystemExit('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = no\n"
        "import torch; torch.load = no\n"
        "upland.persistence.load(sys.argv[1])"
    )
    done = run_python("-c", code, tmp_path / "m")
    assert done.returncode == 0, done.stderr


# -- modules of one's own ------------------------------------------------------------------------------------


def net(width, units=6):
    return torch.nn.Sequential(
        torch.nn.Linear(width, units), torch.nn.Softplus(), torch.nn.Linear(units, 1, bias=False)
    )


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.safetensors"
    detector = quick(model=net).fit(numbers())
    upland.save(detector, path)
    return detector, path


@pytest.mark.parametrize("model", [net, net(4)], ids=["factory", "module"])
def test_a_module_of_ones_own_comes_back_with_its_weights(model, own):
    detector, path = own
    again = upland.load(path, model=model)
    np.testing.assert_array_equal(
        again.anomaly_score(numbers(seed=2)), detector.anomaly_score(numbers(seed=2))
    )


def test_it_is_refused_without_the_module(own):
    with pytest.raises(ValueError, match=r"module of your own: give it as load\(path, model=module\)"):
        upland.load(own[1])


@pytest.mark.parametrize(
    "wrong", [net(5), net(4, units=7), torch.nn.Linear(4, 1), lambda width: net(width, 9)]
)
def test_another_module_is_refused(wrong, own):
    with pytest.raises(ValueError, match="holds weights that the module given does not fit"):
        upland.load(own[1], model=wrong)


def test_uplands_own_model_wants_none(saved, tmp_path):
    (tmp_path / "m").write_bytes(saved)
    with pytest.raises(ValueError, match="leave model out"):
        upland.load(tmp_path / "m", model=net)


def test_the_manifest_is_plain_json(saved, tmp_path):
    (tmp_path / "m").write_bytes(saved)
    _, manifest = read_tensors(tmp_path / "m")
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["content"] == "detector"
    assert set(manifest["versions"]) >= {"upland", "torch", "numpy"}
