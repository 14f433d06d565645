"""Context inputs of sequences: the model is conditioned on them, and they are no part of the score."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest

import normals
import upland
from upland.catalogue import criteria_of
from upland.export.onnx import to_onnx
from upland.models.recurrent import RecurrentEnergy
from upland.watch.columns import Columns

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")
CRITERIA = [*criteria_of("energy", "sequence")]
CONTEXT = ["set_point", "mode"]


def plant(steps=400, seed=0, levels=(20.0, 30.0, 40.0), lasting=50):
    """A flow that follows its set point, a power that follows the flow, and the mode that they run in."""
    rng = np.random.default_rng(seed)
    set_point = np.repeat(rng.choice(levels, steps // lasting + 1), lasting)[:steps]
    flow = np.empty(steps)
    state = set_point[0]
    for step in range(steps):
        state += 0.3 * (set_point[step] - state)
        flow[step] = state
    power = 0.05 * (flow - 30) ** 2 + rng.normal(0, 0.2, steps)
    return pd.DataFrame(
        {
            "minute": np.arange(steps),
            "set_point": set_point,
            "flow": flow + rng.normal(0, 0.3, steps),
            "mode": np.where(set_point > 30, "high", "low"),
            "power": power,
        }
    )


def small(**options):
    usual = {"time": "minute", "context": CONTEXT, "window": 40}
    return normals.small(upland.SequenceEnergyDetector, **usual | options)


@pytest.fixture(scope="module", params=CRITERIA)
def fitted(request):
    return small(criterion=request.param).fit(plant())


@pytest.fixture(scope="module")
def trained():
    """As upland trains one by itself."""
    options = {"time": "minute", "context": ["set_point"], "ignore": ["mode"]}
    return upland.SequenceEnergyDetector(**options, **normals.QUIET).fit(plant(1200, seed=1))


NEW = plant(120, seed=3)


# -- what the issue promises ---------------------------------------------------------------------------------


def test_a_set_point_that_steps_is_no_alarm_and_a_channel_that_does_not_follow_is_one(trained):
    normal = plant(1000, seed=2)
    steps = np.flatnonzero(np.diff(normal["set_point"])) + 1
    step = int(steps[steps > 400][0])
    p_normal = trained.p_values(normal)
    assert p_normal[step : step + 50].min() > 0.05
    stuck = normal.copy()
    held = stuck[["flow", "power"]].iloc[step - 50 : step].to_numpy()
    stuck.loc[step : step + 49, ["flow", "power"]] = held
    p_values = trained.p_values(stuck)
    assert np.mean(p_values[step + 5 : step + 50] <= 0.01) > 0.9
    reasons = upland.explain(trained, stuck).top(1)[step + 20]
    assert reasons[0].column == "flow"


def test_the_wrong_response_to_a_set_point_is_found(trained):
    """The channel moves as it does in normal data, but at the wrong time: only the context shows it."""
    normal = plant(1000, seed=2)
    early = normal.copy()
    early[["flow", "power"]] = np.roll(normal[["flow", "power"]].to_numpy(), -25, axis=0)
    inside = np.arange(100, 900)
    flagged = [np.mean(trained.p_values(rows)[inside] <= 0.01) for rows in (early, normal)]
    assert flagged[0] > 0.5
    assert flagged[0] > 10 * flagged[1]


# -- no part of the score ------------------------------------------------------------------------------------


def test_the_context_has_no_share_and_no_value_expected(fitted):
    explanation = upland.explain(fitted, NEW)
    assert explanation.columns == ("flow", "power")
    assert explanation.shares.shape == explanation.values.shape == explanation.expected.shape == (120, 2)
    np.testing.assert_array_equal(explanation.values[:, 0].astype(float), NEW["flow"])
    if fitted.criterion != "energy":
        np.testing.assert_allclose(explanation.shares.sum(axis=1), fitted.anomaly_score(NEW), rtol=1e-6)


def test_it_changes_scores_at_its_own_step_and_later_ones_alone(fitted):
    other = NEW.assign(set_point=NEW["set_point"] + 10.0 * (NEW["minute"] == 60))
    before, after = fitted.anomaly_score(NEW), fitted.anomaly_score(other)
    np.testing.assert_array_equal(before[:60], after[:60])
    assert before[60] != after[60]


def test_the_order_of_the_columns_does_not_matter(fitted):
    np.testing.assert_array_equal(
        fitted.anomaly_score(NEW[["power", "mode", "minute", "flow", "set_point"]]), fitted.anomaly_score(NEW)
    )


def test_streaming_equals_the_pass(fitted):
    rows = NEW[:30]
    state, scores = None, []
    for row in rows.to_dict("records"):
        score, _, state = fitted.score_next(state, row)
        scores.append(score)
    np.testing.assert_allclose(scores, fitted.anomaly_score(rows), rtol=1e-9)


def test_it_is_kept_in_a_file_bit_for_bit(fitted, tmp_path):
    upland.save(fitted, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.anomaly_score(NEW), fitted.anomaly_score(NEW))
    assert again.encoder_.context == ("set_point", "mode")
    assert again.get_params()["context"] in (CONTEXT, tuple(CONTEXT))


def test_a_graph_of_onnx_gives_the_same_scores():
    fitted = small(criterion="max_channel").fit(plant())
    session = onnxruntime.InferenceSession(to_onnx(fitted))
    given = {
        entry.name: NEW[entry.name].to_numpy(dtype=object if entry.type == "tensor(string)" else np.float64)
        for entry in session.get_inputs()
        if entry.name != "lengths"
    }
    found = session.run(["anomaly_score"], given | {"lengths": np.array([len(NEW)])})[0]
    np.testing.assert_allclose(found, fitted.anomaly_score(NEW), rtol=1e-6)


def test_columns_that_are_watched_for_change_are_channels():
    detector = small().fit(plant())
    columns = Columns(detector)
    assert columns.names == ("flow", "power")
    encoded = detector.encode(detector.encoder_, next(iter(detector.plan_.reader.pieces(NEW, None))))
    assert columns.totals(encoded).sums.shape == (2,)


def test_without_context_all_is_as_it_was():
    frame = plant().drop(columns=CONTEXT)
    one, two = (small(context=context).fit(frame) for context in ((), []))
    np.testing.assert_array_equal(one.anomaly_score(NEW), two.anomaly_score(NEW))
    assert one.members_[0].model.context_width == 0
    assert "context" not in one.encoder_.to_state()[0]


# -- arrays, own models, refusals ----------------------------------------------------------------------------


def test_of_an_array_context_is_named_by_position():
    x = plant()[["flow", "set_point", "power"]].to_numpy()
    detector = small(time=None, context=[1]).fit(x)
    assert detector.encoder_.column_names == ("x0", "x2")
    whole = x[:200].reshape(5, 40, 3)
    sequences = small(time=None, context=[1], window=None).fit(np.concatenate([whole] * 4))
    assert upland.explain(sequences, whole).channels().shape == (5, 2)
    np.testing.assert_allclose(
        upland.explain(sequences, whole).channels().sum(axis=1), sequences.anomaly_score(whole), rtol=1e-6
    )


def test_a_model_of_ones_own_takes_the_context_or_is_refused():
    with pytest.raises(ValueError, match="context_width=1"):
        small(context=["set_point"], ignore=["mode"], model=RecurrentEnergy).fit(plant())

    def made(width):
        return RecurrentEnergy(width, (8,), frame=3, context_width=1)

    detector = small(context=["set_point"], ignore=["mode"], model=made).fit(plant())
    assert np.isfinite(detector.anomaly_score(NEW)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": "set_point"}, "must be a list"),
        ({"context": ["setpoint"]}, "context names columns that are not in the table: 'setpoint'"),
        ({"context": ["mode"], "ignore": ["mode"]}, "both in context and in ignore: 'mode'"),
        ({"context": ["mode", "set_point", "flow", "power"]}, "every column is context"),
    ],
)
def test_wrong_names_are_refused(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        small(**options).fit(plant())


def test_rows_that_lack_the_context_are_refused(fitted):
    with pytest.raises(ValueError, match=r"missing column\(s\): 'set_point'"):
        fitted.anomaly_score(NEW.drop(columns="set_point"))
