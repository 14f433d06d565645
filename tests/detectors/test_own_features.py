"""`features=module` of detectors of images: all that holds of a detector holds with features of one's own."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.nn.functional import avg_pool2d

import upland
from normals import numbers, quick, slopes
from upland.data.image.features import FeaturesError
from upland.detectors.features.modules import described
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors
from upland.persistence import load_bytes

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")


class Net(torch.nn.Module):
    """A small network with a fixed seed."""

    def __init__(self, seed=0):
        super().__init__()
        self.first, self.norm = torch.nn.Conv2d(3, 6, 3, 2, 1), torch.nn.BatchNorm2d(6)
        self.second = torch.nn.Conv2d(6, 8, 3, 2, 1)
        source = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.randn(value.shape, generator=source, dtype=torch.float32))

    def forward(self, x):
        first = torch.relu(self.norm(self.first(x)))
        return [first, self.second(first)]


def pooled(x):
    return {"fine": avg_pool2d(x, 2), "squares": avg_pool2d(x * x, 4)}


def colours(x):
    return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1)


MADE = {"a module": Net(), "a function to maps": pooled, "a function to vectors": colours, "of a flow": Net()}
every = pytest.mark.parametrize("made", MADE)
BOTH = pytest.mark.parametrize("calibration", ["split", "cross"])
X, NEW = slopes(40, 16, 18, 3), slopes(8, 16, 18, 3, seed=1)
COMMON = {"calibration": "split", "random_state": 0, "progress": False}


def make(made, features=None, **options):
    """A detector with features of `MADE`, or with others."""
    features = features or (MADE[made] if isinstance(made, str) and made in MADE else made)
    estimator = upland.ImageFlowDetector if made == "of a flow" else upland.ImageEnergyDetector
    return estimator(features=features, **COMMON | options)


@pytest.fixture(scope="module")
def ready():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {made: make(made).fit(X) for made in MADE}


@pytest.fixture
def fitted(ready):
    return {made: copy.copy(detector) for made, detector in ready.items()}


@pytest.fixture(scope="module")
def stored(ready, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for number, made in enumerate(MADE):
        upland.save(ready[made], folder / f"{number}.safetensors")
    return {made: folder / f"{number}.safetensors" for number, made in enumerate(MADE)}


# -- scores --------------------------------------------------------------------------------------------------


@every
@BOTH
def test_what_is_wrong_is_found(made, calibration):
    detector = make(made, calibration=calibration).fit(X)
    strange = np.random.default_rng(0).integers(0, 256, NEW.shape, dtype=np.uint8)
    assert detector.anomaly_score(strange).min() > detector.anomaly_score(NEW).max()
    assert detector.p_values(strange).max() <= 1 / len(detector.calibration_.scores) + 0.1
    assert detector.predict(strange).tolist() == [-1] * len(strange)


@every
def test_a_score_depends_on_its_image_alone(made, fitted):
    detector = fitted[made]
    scores = detector.anomaly_score(NEW)
    np.testing.assert_array_equal(detector.anomaly_score(NEW), scores)
    np.testing.assert_allclose(detector.anomaly_score(NEW[::-1])[::-1], scores, rtol=1e-7)
    for row in range(3):
        np.testing.assert_allclose(detector.anomaly_score(NEW[row : row + 1]), scores[row], rtol=1e-7)


@every
def test_two_fits_with_a_seed_are_equal_and_the_module_stays_as_it_is(made, fitted):
    module = Net().train() if isinstance(MADE[made], Net) else MADE[made]
    other = make(made, module).fit(X)
    np.testing.assert_array_equal(other.anomaly_score(NEW), fitted[made].anomaly_score(NEW))
    if module is not MADE[made]:
        assert module.training
        assert described(module) == described(Net())


@every
def test_every_criterion_explains(made, fitted):
    for criterion in fitted[made].offered_.homes:
        detector = fitted[made].set_params(criterion=criterion)
        found = upland.explain(detector, NEW)
        assert found.heat().shape == NEW.shape[:3]
        assert np.isfinite(found.shares).all()
        if criterion == "experts":
            np.testing.assert_allclose(found.shares.sum((1, 2, 3)), detector.anomaly_score(NEW), rtol=1e-5)


def test_heat_shows_where_a_planted_spot_is(fitted):
    spotted = NEW.copy()
    spotted[:, 10:14, 2:6] = [255, 0, 255]
    heat = upland.explain(fitted["a module"], spotted).heat()
    around = heat[:, 8:, :8]  # patches are averaged over three by three
    assert (around.sum((1, 2)) > heat.sum((1, 2)) / 2).all()
    np.testing.assert_array_equal(around.max((1, 2)), heat.max((1, 2)))


@every
def test_groups_are_tested_and_fresh_images_calibrate(made, fitted):
    strange = np.random.default_rng(0).integers(0, 256, (5, *NEW.shape[1:]), dtype=np.uint8)
    detector = copy.deepcopy(fitted[made])
    verdicts = detector.score_groups(np.r_[NEW[:5], strange], np.repeat([0, 1], 5))
    assert verdicts.p_value[1] < verdicts.p_value[0]
    detector.calibrate(slopes(30, 16, 18, 3, seed=5))
    assert len(detector.calibration_.scores) == 30


@every
def test_grey_images_and_pixels_to_ignore(made):
    grey, mask = slopes(30, 16, 18), np.zeros((16, 18), dtype=bool)
    mask[:5] = True
    detector = make(made, ignore=mask).fit(grey)
    other = grey.copy()
    other[:, :5] = 0
    np.testing.assert_array_equal(detector.anomaly_score(other), detector.anomaly_score(grey))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "bool"])
def test_pixels_of_every_type(dtype):
    seen = []
    pixels = slopes(30, 16, 18)
    given = {"uint8": pixels, "uint16": pixels.astype(np.uint16) * 257, "bool": pixels > 120}
    given["float32"] = (pixels / 255).astype(np.float32)
    detector = make(lambda x: seen.append((float(x.min()), float(x.max()))) or pooled(x)).fit(given[dtype])
    assert np.isfinite(detector.anomaly_score(given[dtype])).all()
    lows, highs = zip(*seen, strict=True)
    assert min(lows) >= 0
    assert max(highs) <= 1
    assert max(highs) > 0.7


# -- arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("resnet", r"^features must be one of 'auto', 'pixels', .* or a module or function .* got 'resnet'"),
        ("own", "got 'own'"),
        (3, "^features must be .*a module or function from images .* got 3"),
        (None, "^features must be .*a module or function from images .* got None"),
        (Net, "got the class Net: give one of its objects"),
        (lambda x: None, "^features: <lambda> must return maps .* got NoneType"),
        (lambda x: x.repeat(2, 1, 1, 1), "^features: <lambda> gives 2 rows for 1 image"),
        (lambda x: x / 0, "^features: .* are not all finite"),
        (torch.nn.Linear(7, 7), r"^features: Linear raised RuntimeError for an image \(1, 3, 16, 18\)"),
    ],
)
def test_what_makes_no_features_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        make(wrong).fit(X)


def test_an_image_whose_features_are_not_finite_is_named(fitted):
    detector = make(lambda x: avg_pool2d(x, 2) / (x.max() - x.min())).fit(X)
    blank = NEW.copy()
    blank[3] = 90
    with pytest.raises(ValueError, match=r"features='own': those of image\D*3 are not all finite"):
        detector.anomaly_score(blank)


@pytest.mark.parametrize("estimator", [upland.ImageEnergyDetector, upland.ImageFlowDetector])
def test_an_infinite_feature_is_refused(estimator):
    def steep(x):
        return torch.where(x.mean((2, 3)) > 0.9, torch.inf, x.mean((2, 3)))

    detector = estimator(features=steep, **COMMON).fit(X)
    with pytest.raises(ValueError, match=r"features='own': those of image\D*0 are not all finite"):
        detector.anomaly_score(np.full_like(NEW, 250))


def test_a_vector_of_one_number_keeps_its_size():
    detector = upland.ImageFlowDetector(features=lambda x: x.mean((1, 2, 3))[:, None], **COMMON).fit(X)
    assert len(set(detector.anomaly_score(NEW))) == len(NEW)
    assert detector.anomaly_score(np.full_like(NEW, 255)).min() > detector.anomaly_score(NEW).max()


def test_the_deep_energy_has_no_features():
    with pytest.raises(ValueError, match="features"):
        make("a module", hidden=(4,)).fit(X)


@every
def test_clones_and_parameters_keep_the_object(made, fitted):
    detector = fitted[made]
    for other in (clone(detector), clone(clone(detector))):
        assert other.features is detector.features is detector.get_params()["features"] is MADE[made]
        assert other.get_params() == {**detector.get_params()}
    np.testing.assert_array_equal(clone(detector).fit(X).anomaly_score(NEW), detector.anomaly_score(NEW))
    assert detector.fitted_params()["features"] is MADE[made]


def test_clones_of_named_features_are_as_before():
    assert clone(upland.ImageEnergyDetector(features="pixels", epochs=3)).get_params()["features"] == "pixels"


@every
def test_after_a_fit_the_argument_changes_nothing(made, fitted, tmp_path):
    detector = copy.deepcopy(fitted[made])
    upland.save(detector, tmp_path / "a")
    scores = detector.anomaly_score(NEW)
    for other in ("pixels", Net(seed=3), colours):
        detector.set_params(features=other)
        np.testing.assert_array_equal(detector.anomaly_score(NEW), scores)
        upland.save(detector, tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@every
def test_copies_and_pickles_score_alike(made, fitted):
    scores = fitted[made].anomaly_score(NEW)
    for other in (copy.deepcopy(fitted[made]), pickle.loads(pickle.dumps(fitted[made]))):
        np.testing.assert_array_equal(other.anomaly_score(NEW), scores)


def test_a_container_of_modules_is_no_list_of_arguments():
    class Branches(torch.nn.ModuleDict):
        def forward(self, x):
            return {name: module(x) for name, module in self.items()}

    module = Branches({"a": torch.nn.AvgPool2d(2), "b": torch.nn.AvgPool2d(4)})
    detector = make(module).fit(X)
    assert detector.params_["features"] is module


@every
def test_info_says_what_they_are_and_is_plain(made, fitted):
    info = fitted[made].info()
    assert info["settings"]["features"] == described(MADE[made])
    assert json.loads(json.dumps(info)) == info


def test_what_decides_a_fit_are_the_weights_and_not_the_object():
    settings = [make(features)._settings()["features"] for features in (Net(), Net(), Net(seed=1), pooled)]
    assert settings[0] == settings[1] == described(Net())
    assert len(set(settings)) == 3


# -- files ---------------------------------------------------------------------------------------------------


@every
@BOTH
def test_the_same_module_brings_the_scores_back(made, calibration, tmp_path):
    detector = make(made, calibration=calibration).fit(X)
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m", features=MADE[made])
    assert again.plan_ == detector.plan_
    assert again.features is MADE[made]
    for method in ("anomaly_score", "p_values"):
        np.testing.assert_array_equal(getattr(again, method)(NEW), getattr(detector, method)(NEW))
    np.testing.assert_array_equal(upland.explain(again, NEW).shares, upland.explain(detector, NEW).shares)
    upland.save(again, tmp_path / "n")
    assert (tmp_path / "n").read_bytes() == (tmp_path / "m").read_bytes()
    np.testing.assert_array_equal(clone(again).fit(X).anomaly_score(NEW), detector.anomaly_score(NEW))


@every
def test_the_file_holds_a_name_and_a_digest_and_neither_code_nor_weights(made, stored):
    tensors, manifest = read_tensors(stored[made])
    assert manifest["plan"]["reader"]["features"] == "own"
    assert not {"source", "mask"} & set(manifest["plan"]["reader"])
    assert "features" not in manifest["arguments"]
    source = manifest["members"][0]["encoder"]["source"]
    assert f"{source['name']}, SHA-256 {source['digest']}" == described(MADE[made])
    assert {name for name in tensors if "/source/" in name} == {"0/encoder/source/probe"}


@every
def test_without_the_module_it_is_refused_everywhere(made, stored, tmp_path):
    text = r"was fitted with features of your own: .* load\(path, features=module\)"
    for read in (
        upland.load,
        lambda path: load_bytes(path.read_bytes(), path),
        upland.Scorer,
        lambda path: upland.Watch(path, tmp_path / "history.db"),
    ):
        with pytest.raises(ValueError, match=text) as refused:
            read(stored[made])
        assert not isinstance(refused.value, TensorFileError)
        assert str(stored[made]) in str(refused.value)


@pytest.mark.parametrize(
    ("made", "wrong", "message"),
    [
        ("a module", pooled, "features by Net, and those given are by pooled"),
        ("a module", Net(seed=1), "by Net with other weights"),
        ("a module", torch.nn.Sequential(Net()), "and those given are by Sequential"),
        ("a module", 3, "cannot be read: features must be a module or function"),
        ("a module", "pixels", "cannot be read: features must be a module or function"),
        ("a module", Net, "got the class Net"),
        ("a function to maps", lambda x: pooled(x), "by pooled, and those given are by <lambda>"),
    ],
)
def test_another_module_is_refused(made, wrong, message, stored):
    with pytest.raises(ValueError, match=message) as refused:
        upland.load(stored[made], features=wrong)
    assert not isinstance(refused.value, TensorFileError)


def test_a_function_of_the_same_name_that_gives_something_else_is_refused(tmp_path):
    def made(factor):
        def function(x):
            return pooled(x * factor)

        return function

    upland.save(make(made(1.0)).fit(X), tmp_path / "m")
    upland.load(tmp_path / "m", features=made(1.0))
    with pytest.raises(ValueError, match=r"with other features by function .* of the same picture \(by 0\.5"):
        upland.load(tmp_path / "m", features=made(0.5))


class Changing(Net):
    """Its second map is what the class says."""

    change = staticmethod(torch.nn.Identity())

    def forward(self, x):
        first, second = super().forward(x)
        return [first, self.change(second)]


def test_weights_that_are_used_in_another_way_are_refused_wherever_it_shows(tmp_path, monkeypatch):
    upland.save(make(Changing()).fit(X), tmp_path / "m")
    upland.load(tmp_path / "m", features=Changing())
    monkeypatch.setattr(Changing, "change", staticmethod(torch.sin))
    with pytest.raises(ValueError, match=r"with other features by Changing .* of the same picture"):
        upland.load(tmp_path / "m", features=Changing())


@pytest.mark.parametrize("of", ["pixels", "the deep energy", "a table"])
def test_features_that_no_file_needs_are_refused(of, tmp_path):
    detector = {
        "pixels": lambda: make("pixels").fit(X),
        "the deep energy": lambda: upland.ImageEnergyDetector(hidden=(4,), epochs=1, **COMMON).fit(X),
        "a table": lambda: quick().fit(numbers()),
    }[of]()
    upland.save(detector, tmp_path / "m")
    with pytest.raises(ValueError, match="was fitted without features of your own: leave features out"):
        upland.load(tmp_path / "m", features=pooled)


def forged(what, tensors, manifest):
    tensors, encoder = dict(tensors), manifest["members"][0]["encoder"]
    if what == "no probe":
        del tensors["0/encoder/source/probe"]
    elif what == "a shape":
        encoder["source"]["shape"] = [3, 1 << 20, 1 << 20]
    elif what == "a source in the plan":
        manifest["plan"]["reader"]["source"] = {"name": "own"}
    elif what == "an argument":
        manifest["arguments"]["features"] = "pixels"
    elif what == "other features of the encoder":
        encoder["features"] = "pixels"
    elif what == "other features of the plan":
        manifest["plan"]["reader"]["features"] = "pixels"
    manifest["tensors"] = {k: [v.dtype.name, list(v.shape)] for k, v in tensors.items()}
    return tensors, manifest


@pytest.mark.parametrize(
    "what",
    [
        *("no probe", "a shape", "a source in the plan", "an argument"),
        *("other features of the encoder", "other features of the plan"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(what, stored, tmp_path):
    tensors, manifest = forged(what, *read_tensors(stored["a function to maps"]))
    write_tensors(tmp_path / "m", tensors, manifest)
    features = None if what == "other features of the plan" else pooled
    with pytest.raises(TensorFileError):
        upland.load(tmp_path / "m", features=features)


def test_a_name_in_a_file_is_shown_on_one_line(stored, tmp_path):
    tensors, manifest = read_tensors(stored["a function to maps"])
    manifest["members"][0]["encoder"]["source"]["name"] = "\x1b[31m" + "x" * 1000
    write_tensors(tmp_path / "m", tensors, manifest)
    with pytest.raises(ValueError, match="and those given are by pooled") as refused:
        upland.load(tmp_path / "m", features=pooled)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_errors_of_features_are_value_errors():
    assert issubclass(FeaturesError, ValueError)
