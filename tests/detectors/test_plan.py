"""A fit resolves every argument once; from then on only the live ones can be changed."""

import copy
import json
import re

import numpy as np
import pytest
from torch import nn

import upland
from estimators import EXAMPLES, EXPERTS, FEATURES
from laws import generator, randomise
from upland.detectors.plan import LIVE, MEMBER_STREAMS, STREAMS, FitPlan
from upland.detectors.table import NETS_ONLY
from upland.models.flow import table_flow
from upland.models.glow import Glow
from upland.models.recurrent import RecurrentEnergy
from upland.models.recurrent_flow import RecurrentFlow
from upland.models.vae import convolutional_vae, dense_vae


def own_net(width):
    return randomise(nn.Sequential(nn.Linear(width, 3), nn.Softplus(), nn.Linear(3, 1)))


def own_image_net(shape):
    return nn.Sequential(nn.Flatten(), own_net(int(np.prod(shape))))


OWN = {
    "EnergyDetector": own_net,
    EXPERTS: own_net,
    "FlowDetector": lambda width: table_flow(width, 1, (3,), generator=generator()),
    "VAEDetector": lambda width: dense_vae(width, (3,), 1, generator()),
    "SequenceEnergyDetector": lambda width: RecurrentEnergy(
        width, (3,), frame=2, cell="gru", generator=generator()
    ),
    "SequenceFlowDetector": lambda width: RecurrentFlow(width, 2, (3,), 4, generator=generator()),
    "ImageEnergyDetector": own_image_net,
    FEATURES: own_image_net,
    "ImageFlowDetector": lambda shape: Glow(shape, 1, 1, 3, generator=generator()),
    "ImageVAEDetector": lambda shape: convolutional_vae(shape, (2,), 1, generator()),
}
"""A module of the user's own for each estimator, with the same weights whenever it is made."""

OTHER = {
    "energy": "dsebm",
    "features": "efficientnet-lite0",
    "parts": ("conditional", "distance"),
    "speed": "fast",
    "hidden": (3,),
    "noise": 0.35,
    "prior": "mixture",
    "n_nets": 1,
    "objective": "sliced",
    "calibration": "cross",
    "epochs": 1,
    "batch_size": 50,
    "learning_rate": 0.017,
    "patience": 4,
    "categorical": (),
    "ignore": ("pressure",),
    "context": ("load",),
    "calendar": "auto",
    "keep_rows": 9,
    "random_state": 7,
    "layers": 1,
    "coupling": "spline",
    "fallback": "gaussian",
    "latent": 1,
    "frame": 4,
    "lags": 5,
    "id": None,
    "time": None,
    "window": 12,
    "stride": 4,
    "per": "sequence",
    "smoothing": 3,
    "kernel_size": 1,
    "pool": "max",
    "n_centres": 2,
    "size": (4, 4),
    "mode": "rgb",
    "levels": 2,
    "depth": 2,
    "decimal": ",",
    "thousands": " ",
    "missing": (-999,),
    "dayfirst": True,
    "dates": "parts",
}
"""Another valid value of every argument that is not live, beside those that go by the estimator."""


def other_value(name, argument):
    if argument == "model":
        return OWN[name]
    if argument == "energy" and name == "ImageEnergyDetector":
        return "experts"
    if argument == "filters":
        return 3 if name == "ImageFlowDetector" else (3,)
    if argument == "ignore" and name.startswith("Sequence"):
        return ("load",)
    if argument == "ignore" and name.startswith("Image"):
        return np.eye(*EXAMPLES[name].rows.shape[1:3], dtype=bool)
    return OTHER[argument]


WITH = {"id": {"ignore": ("machine", "time"), "time": None}, "time": {"ignore": ("time",)}}
"""What has to change with another value: what is neither `id` nor `time` would be a channel."""

WITHOUT_MEANING = [
    *(("EnergyDetector", name) for name in ("parts", "speed")),
    *(("ImageEnergyDetector", name) for name in ("energy", "features")),
    ("ImageFlowDetector", "features"),
]
"""Arguments that the model of an example does not have, so that the next fit refuses them."""


def with_other(name, argument):
    """The other value, and what changes with it; what makes an example one of nets is trained briefly."""
    brief = (
        {"epochs": 1} if name in (EXPERTS, FEATURES) and argument in ("energy", "model", *NETS_ONLY) else {}
    )
    return brief | {argument: other_value(name, argument)} | WITH.get(argument, {})


FROZEN = [
    (name, argument)
    for name, example in EXAMPLES.items()
    for argument in example.make().get_params()
    if argument not in LIVE
]
pytestmark = pytest.mark.filterwarnings(
    "ignore:p-values are coarse", "ignore:.*missing values", "ignore:a Gaussian replaces"
)


@pytest.fixture(scope="module")
def fitted():
    return {name: example.fit() for name, example in EXAMPLES.items()}


def results(detector, example, folder):
    """All that a fitted detector gives, before and after a calibration on fresh rows."""
    found = []
    for calibrated in (False, True):
        if calibrated:
            detector.calibrate(example.rows)
        found += [*detector.assess(example.new), np.ravel(detector.decision_function(example.new))]
        found += [calibration.scores for calibration in detector.calibrations_.values()]
        found.append(np.array([detector.offset_, detector.n_samples_fit_]))
        found += [part for part in (detector.members_[0].held_out,) if part is not None]
        upland.save(detector, folder / "model")
        found.append(np.frombuffer((folder / "model").read_bytes(), np.uint8))
    return found


@pytest.fixture(scope="module")
def before(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    return {name: results(copy.deepcopy(fitted[name]), EXAMPLES[name], folder) for name in EXAMPLES}


@pytest.mark.parametrize(("name", "argument"), FROZEN)
def test_a_changed_argument_changes_nothing_until_the_next_fit(name, argument, fitted, before, tmp_path):
    for value in (other_value(name, argument), "no such value"):
        detector = copy.deepcopy(fitted[name]).set_params(**{argument: value})
        found = results(detector, EXAMPLES[name], tmp_path)
        for one, other in zip(found, before[name], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("name", "argument"), [pair for pair in FROZEN if pair not in WITHOUT_MEANING])
def test_the_next_fit_resolves_the_new_value(name, argument, fitted):
    """Every argument that is not live is part of the plan, which another value changes."""
    example, params = EXAMPLES[name], with_other(name, argument)
    again = copy.deepcopy(fitted[name]).set_params(**params).fit(example.rows)
    fresh = example.make(**params).fit(example.rows)
    assert again.plan_ == fresh.plan_
    assert again.plan_.to_json() != fitted[name].plan_.to_json()
    np.testing.assert_array_equal(again.anomaly_score(example.new), fresh.anomaly_score(example.new))


@pytest.mark.parametrize(("name", "argument"), WITHOUT_MEANING)
def test_the_next_fit_refuses_what_its_model_does_not_have(name, argument, fitted):
    """And the detector stays as it was fitted."""
    example = EXAMPLES[name]
    detector = copy.deepcopy(fitted[name]).set_params(**{argument: other_value(name, argument)})
    with pytest.raises(ValueError, match=r": leave one of them out$") as refused:
        detector.fit(example.rows)
    first, second = re.fullmatch(r"(.*) has no meaning beside (.*): leave.*", str(refused.value)).groups()
    assert argument in (first.partition("=")[0], second.partition("=")[0])
    assert detector.plan_ == fitted[name].plan_
    np.testing.assert_array_equal(
        detector.anomaly_score(example.new), fitted[name].anomaly_score(example.new)
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_live_arguments_are_arguments_of_every_estimator(name, fitted):
    assert set(LIVE) <= set(fitted[name].get_params())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_list_that_the_user_changes_later_changes_nothing(name, tmp_path):
    example = EXAMPLES[name]
    given = {key: list(value) for key, value in example.params.items() if isinstance(value, list)}
    detector = example.make(**given or {"size": [8, 8]}).fit(example.rows)
    lists = [value for value in detector.get_params().values() if isinstance(value, list)]
    assert lists
    expected = results(copy.deepcopy(detector), example, tmp_path)
    for value in lists:
        value.append("no such value")
    for one, other in zip(results(detector, example, tmp_path), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("own", [False, True], ids=["upland's model", "own model"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_plan_comes_back_from_json(name, own, fitted):
    module = OWN[name] if own else None
    plan = EXAMPLES[name].fit(model=module, epochs=1).plan_ if own else fitted[name].plan_
    record = json.loads(json.dumps(plan.to_json()))
    assert FitPlan.from_json(record, module) == plan
    with pytest.raises(ValueError, match="colour"):
        FitPlan.from_json(record | {"colour": 1}, module)
    with pytest.raises(ValueError, match="colour"):
        FitPlan.from_json(record | {"architecture": record["architecture"] | {"colour": 1}}, module)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_plan_cannot_be_changed(name, fitted):
    plan = fitted[name].plan_
    for part in (plan, plan.reader, plan.architecture, plan.training):
        field = next(iter(vars(part)))
        with pytest.raises(AttributeError):
            setattr(part, field, None)
    hash(plan)  # nothing in it can be changed in place


def test_streams_of_randomness_differ_by_purpose_and_by_member(fitted):
    plan = fitted["EnergyDetector"].plan_
    shared = [plan.stream(name) for name in STREAMS]
    of_members = [plan.stream(name, member) for name in MEMBER_STREAMS for member in range(3)]
    for streams in (shared, of_members):
        assert len({int(stream.integers(2**62)) for stream in streams}) == len(streams)
    assert plan.stream("folds").integers(2**62) == plan.stream("folds").integers(2**62)
