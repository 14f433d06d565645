"""Constructor arguments: few, each documented, each used, each refused by name where it makes no sense."""

import inspect
import json
import re
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

import upland
from normals import NORMAL, SIZES, mixed, numbers, quick, slopes, small, waves
from upland.catalogue import DETECTORS
from upland.catalogue import load as load_entry
from upland.detectors.arguments import frozen, plain_argument
from upland.detectors.plan import LIVE
from upland.io.cells import CellOptions

EVERY = [(made, name) for made in SIZES for name in inspect.signature(made).parameters]
MOST = 13
"""Arguments beside the common ones."""
COMMON = {
    *("criterion", "calibration", "contamination", "epochs", "batch_size", "learning_rate", "patience"),
    *("model", "device", "progress", "random_state"),
}

OF_CELLS = {field.name for field in fields(CellOptions)}
"""Arguments that every estimator of columns has, about what the cells of text mean."""

OF_TIME = {"context", "calendar"}
"""Arguments of sequences about what is known at each step beside its channels."""


@pytest.fixture
def untrained(monkeypatch):
    """A training that begins is a failure."""
    monkeypatch.setattr("upland.training.loop.Training.run", lambda *_, **__: pytest.fail("trained"))


def test_every_estimator_of_the_catalogue_is_tested_here():
    assert {load_entry(entry.home) for entry in DETECTORS.values()} == set(SIZES)


@pytest.mark.parametrize("made", SIZES)
def test_arguments_are_few_and_the_common_ones_are_everywhere(made):
    names = list(inspect.signature(made).parameters)
    assert len(set(names) - OF_CELLS - OF_TIME - COMMON) <= MOST
    assert set(names) >= COMMON | set(LIVE)
    assert list(made().get_params()) == sorted(names)


@pytest.mark.parametrize("made", SIZES)
def test_every_argument_is_documented_in_the_order_of_the_signature(made):
    section = re.search(r"\n    Args:\n(.*?)\n\n", made.__doc__, re.DOTALL)[1]
    documented = re.findall(r"^ {8}(\w+): \S", section, re.MULTILINE)
    assert documented == list(inspect.signature(made).parameters)


NONSENSE = (
    *(object(), "nonsense", -3, float("nan"), np.array([0.5, -1.5]), np.array(["auto"])),
    *(np.array([["a", "b"]]), {"nonsense": 1}, {"auto"}, b"nonsense"),
)


@pytest.mark.parametrize(("made", "name"), EVERY, ids=lambda part: getattr(part, "__name__", part))
def test_nonsense_for_any_argument_is_refused_by_name_before_training(made, name, untrained):
    for value in NONSENSE:
        if name == "missing" and isinstance(value, set | np.ndarray) and np.ndim(value) < 2:
            continue  # any list of texts and numbers may stand for missing cells
        with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
            small(made, **{name: value}).fit(NORMAL[made.modality]())


NET_ARGUMENTS = {
    "hidden": (4,),
    "noise": 0.4,
    "prior": "mixture",
    "n_nets": 1,
    "objective": "sliced",
    "epochs": 1,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "patience": 3,
    "model": lambda width: torch.nn.Linear(width, 1),
}
EXPERT_ARGUMENTS = {"parts": ["distance"], "speed": "fast"}
"""Arguments of `EnergyDetector` that only some of its models have, and values that are not the default."""

BAD_ARGUMENTS = {
    "energy": ["deep", None, 3, ("experts",), True],
    "parts": [(), "distance", None, 3, ("no",), ["distance", "no"], [3], {"distance"}, ("auto",)],
    "speed": ["fastest", "slow", None, 2],
    "hidden": [64, (), (0,), (8, -1), (2.5,), (True,), "64", None],
    "noise": [0, -1.0, True, float("inf"), None],
    "objective": ["score", "likelihood", None],
    "criterion": ["likelihood", 3, {"energy"}],
    "prior": ["kde", None, 3],
    "n_nets": [0, 2.5, "two", True, None],
    "calibration": ["none", None],
    "contamination": [0.0, 0.7, -0.1, 0.9, None],
    "epochs": [0, 1.5, "ten", "auto"],
    "batch_size": [0, 2.5, "all", "auto"],
    "learning_rate": [0.0, -1e-3, "auto", True],
    "patience": [0, 1.5, None],
    "categorical": [("absent",), "valve", None],
    "ignore": [("absent",), "valve", None],
    "decimal": [";", "", True, 1],
    "thousands": ["..", "0", False],
    "missing": ["?", None, [True], [None], [float("nan")], {"?": 1}, b"?"],
    "dayfirst": [1, "yes"],
    "dates": ["cyclic", None, True],
    "keep_rows": [-1, 2.5, True, None],
    "model": [3, lambda width: 3],
    "device": ["gpu", "cuda:99", "abacus", None, 3],
    "progress": [None, 1, "yes"],
    "random_state": ["now", -1, 2.5],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BAD_ARGUMENTS for value in BAD_ARGUMENTS[name]]
)
def test_a_bad_argument_is_refused_by_name_before_training(name, value, untrained):
    model = {"energy": "experts"} if name in ("parts", "speed") else {}
    with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
        quick(**model | {name: value}).fit(mixed())


CONTRADICTIONS = [
    *[({"energy": "experts", name: value}, (name, "energy")) for name, value in NET_ARGUMENTS.items()],
    *[
        ({"energy": "auto", "hidden": (4,), name: value}, (name, "hidden"))
        for name, value in EXPERT_ARGUMENTS.items()
    ],
    *[({"energy": "multiscale", name: value}, (name, "energy")) for name, value in EXPERT_ARGUMENTS.items()],
    *[({"energy": "dsebm", name: value}, (name, "energy")) for name, value in EXPERT_ARGUMENTS.items()],
    ({"energy": "multiscale", "objective": "sliced"}, ("objective", "energy")),
    ({"energy": "multiscale", "model": NET_ARGUMENTS["model"]}, ("model", "energy")),
    ({"model": NET_ARGUMENTS["model"], "parts": ["distance"]}, ("parts", "model")),
]


@pytest.mark.parametrize(("options", "names"), CONTRADICTIONS, ids=" ".join)
def test_arguments_that_contradict_each_other_are_refused_and_the_advice_works(options, names):
    """Either of the two that the message names may be left out."""
    common = {"random_state": 0, "progress": False, "calibration": "split"}
    with pytest.raises(
        ValueError, match=rf"^{names[0]} has no meaning beside {names[1]}.*: leave one of them"
    ):
        upland.EnergyDetector(**common | options).fit(mixed())
    for name in names:
        left = {key: value for key, value in options.items() if key != name}
        brief = (
            {}
            if left.keys() <= {"energy", *EXPERT_ARGUMENTS} and left.get("energy") != "dsebm"
            else {"epochs": 1}
        )
        upland.EnergyDetector(**common | brief | left).fit(mixed())


BAD_SIZES = [
    (upland.FlowDetector, {"layers": 0}),
    (upland.FlowDetector, {"layers": None}),
    (upland.FlowDetector, {"coupling": "additive"}),
    (upland.VAEDetector, {"latent": 0}),
    (upland.VAEDetector, {"latent": None}),
    (upland.SequenceEnergyDetector, {"frame": 0}),
    (upland.SequenceEnergyDetector, {"smoothing": 0}),
    (upland.SequenceEnergyDetector, {"per": "window"}),
    (upland.ImageEnergyDetector, {"kernel_size": 4}),
    (upland.ImageEnergyDetector, {"kernel_size": None}),
    (upland.ImageEnergyDetector, {"filters": 8}),
    (upland.ImageEnergyDetector, {"filters": (8, 0)}),
    (upland.ImageEnergyDetector, {"pool": "median"}),
    (upland.ImageEnergyDetector, {"n_centres": 0}),
    (upland.ImageFlowDetector, {"filters": (4,)}),
    (upland.ImageFlowDetector, {"depth": None}),
    (upland.ImageFlowDetector, {"levels": 0}),
    (upland.ImageVAEDetector, {"latent": "big"}),
]


@pytest.mark.parametrize(("made", "options"), BAD_SIZES, ids=str)
def test_a_bad_size_is_refused_by_name_before_training(made, options, untrained):
    with pytest.raises(ValueError, match=rf"^{next(iter(options))}(\[1\])? must be"):
        small(made, **options).fit(NORMAL[made.modality]())


@pytest.mark.parametrize("made", SIZES)
@pytest.mark.parametrize("name", ["kind", "members", "cell", "banana"])
def test_an_argument_that_there_is_not_is_pythons_own_error(made, name):
    with pytest.raises(TypeError, match=name):
        made(**{name: 1})


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (upland.EnergyDetector, "pool"),
        (upland.FlowDetector, "objective"),
        (upland.ImageEnergyDetector, "time"),
        (upland.ImageFlowDetector, "hidden"),
        (upland.SequenceEnergyDetector, "prior"),
        (upland.VAEDetector, "size"),
    ],
)
def test_arguments_of_another_estimator_are_too(made, name):
    with pytest.raises(TypeError, match=name):
        made(**{name: 1})


# -- data of another modality --------------------------------------------------------------------------------

FRAMES = [pd.DataFrame(wave) for wave in waves(5)]
ELSEWHERE = {
    "sequences for a table": (upland.EnergyDetector, waves(), "SequenceEnergyDetector"),
    "sequences for a flow": (upland.FlowDetector, waves(), "SequenceFlowDetector"),
    "a list of sequences": (upland.VAEDetector, list(waves()), "SequenceEnergyDetector"),
    "frames of sequences": (upland.EnergyDetector, FRAMES, "SequenceEnergyDetector"),
    "images for a table": (upland.EnergyDetector, slopes(), "ImageEnergyDetector"),
    "images for a flow": (upland.FlowDetector, slopes(), "ImageFlowDetector"),
    "images for a VAE": (upland.VAEDetector, slopes(channels=3), "ImageVAEDetector"),
    "images for sequences": (upland.SequenceEnergyDetector, slopes(channels=3), "ImageEnergyDetector"),
    "a table for images": (upland.ImageEnergyDetector, numbers(), "EnergyDetector"),
    "a table for a Glow": (upland.ImageFlowDetector, numbers(), "FlowDetector"),
    "a frame for images": (upland.ImageVAEDetector, mixed(), "VAEDetector"),
    "frames for images": (upland.ImageEnergyDetector, FRAMES, "SequenceEnergyDetector"),
    "short series for images": (
        upland.ImageFlowDetector,
        [np.zeros(5), np.zeros(7)],
        "SequenceFlowDetector",
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_data_of_another_modality_are_refused_with_the_right_class(case, untrained):
    made, X, right = ELSEWHERE[case]
    with pytest.raises(ValueError, match=rf"^{made.__name__} reads .*but X holds .*: use {right}$"):
        small(made).fit(X)


@pytest.fixture(scope="module")
def fitted_ones():
    return {made: small(made).fit(NORMAL[made.modality]()) for made in SIZES}


@pytest.mark.filterwarnings("ignore:p-values are coarse")
@pytest.mark.parametrize("case", ELSEWHERE)
def test_new_data_of_another_modality_are_refused_with_the_right_class(case, fitted_ones):
    made, X, right = ELSEWHERE[case]
    detector = fitted_ones[made]
    calls = [
        detector.anomaly_score,
        detector.p_values,
        detector.calibrate,
        lambda X: upland.explain(detector, X),
    ]
    if detector.modality != "sequence":
        calls.append(lambda X: detector.score_groups(X, np.arange(len(X)) % 2))
    for call in calls:
        with pytest.raises(ValueError, match=rf"^{made.__name__} reads .*but X holds .*: use {right}$"):
            call(X)


def test_a_folder_of_images_is_refused_by_a_table(tmp_path, untrained):
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match="use ImageFlowDetector"):
        small(upland.FlowDetector).fit(tmp_path)


# -- as plain data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["categorical", "ignore"])
@pytest.mark.parametrize("positions", [[np.int64(1)], np.array([1]), (np.uint8(1),)], ids=str)
def test_positions_of_columns_may_be_numbers_of_numpys(argument, positions, tmp_path):
    rows = numbers(120, 3).round()
    detector = quick(epochs=1, **{argument: positions}).fit(rows)
    expected = quick(epochs=1, **{argument: [1]}).fit(rows)
    assert detector.encoder_.describe() == expected.encoder_.describe()
    upland.save(detector, tmp_path / "m")
    np.testing.assert_array_equal(
        upland.load(tmp_path / "m").anomaly_score(rows), expected.anomaly_score(rows)
    )


LIVE_NONSENSE = [("contamination", 77), ("contamination", [0.1]), ("progress", "yes"), ("device", None)]


@pytest.mark.parametrize(("name", "value"), [*LIVE_NONSENSE, ("criterion", 3), ("criterion", "nonsense")])
def test_a_live_argument_is_checked_where_it_is_used(name, value, tmp_path):
    detector = quick(epochs=1).fit(mixed()).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be"):
        detector.calibrate(mixed(seed=2))
    with pytest.raises(ValueError, match=f"^{name} must be"):
        upland.save(detector, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [["a"], ("a",), np.array(["a"]), pd.Index(["a"]), {"a"}])
def test_names_of_columns_may_come_in_any_collection_and_are_kept(names, tmp_path):
    rows = pd.DataFrame(numbers(120, 2).round(), columns=["a", "b"])
    detector = quick(categorical=names, epochs=1).fit(rows)
    assert [column["kind"] for column in detector.encoder_.describe()] == ["categorical", "numeric"]
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    assert again.categorical == ("a",)
    assert again.plan_ == detector.plan_


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(3), 3),
        (np.array([8, 4]), [8, 4]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        ((np.float32(0.5), "auto"), [0.5, "auto"]),
        (np.random.RandomState(0), "RandomState"),
        (torch.device("cpu"), "cpu"),
        (Fraction(1, 4), 0.25),
        (None, None),
    ],
    ids=str,
)
def test_arguments_as_plain_data(value, plain):
    found = plain_argument(value)
    assert found == plain
    assert json.loads(json.dumps(found)) == plain


def test_what_a_plan_keeps_is_not_the_users_own_list():
    names = ["a"]
    kept = frozen(names)
    names.append("b")
    assert kept == ("a",)
    assert [frozen(value) for value in (None, "text", 3, (8, 7))] == [None, "text", 3, (8, 7)]
