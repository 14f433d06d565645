"""The law of ONNX graphs of nets: each estimator by each criterion gives upland's numbers, or is refused."""

import numpy as np
import onnxruntime
import pytest
import torch

import upland
from estimators import DATA, EXAMPLES, EXPERTS
from laws import normal
from upland.catalogue import load
from upland.criteria.base import PointCriterion
from upland.export.graph import Graph
from upland.export.nets import lacking
from upland.export.onnx import to_onnx
from upland.export.sequences import WRITERS
from upland.export.tracing import traced

CLOSE = 1e-5


@pytest.fixture(scope="module")
def fitted():
    """A fitted detector of each example, each fitted once."""
    made = {}

    def of(label):
        if label not in made:
            made[label] = EXAMPLES[label].fit()
        return made[label]

    return of


def session(data):
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def feeds(graph, new):
    """The inputs of a graph: images as they are; of a frame its columns, and the lengths of its sequences."""
    names = [one.name for one in graph.get_inputs()]
    if isinstance(new, np.ndarray):
        return {names[0]: new}
    found = {name: new[name].to_numpy() for name in names if name != "lengths"}
    found = {name: x.astype(object if x.dtype.kind in "OUT" else float) for name, x in found.items()}
    if "lengths" in names:
        found["lengths"] = new.groupby("machine", sort=False).size().to_numpy()
    return found


def check_equal(detector, new):
    """The graph's scores are upland's, and its p-values and flags are the same ones."""
    graph = session(to_onnx(detector))
    for data in (new, EXAMPLES_ROWS[detector.modality]):
        scores, p, flags = graph.run(None, feeds(graph, data))
        wanted = detector.assess(data)
        low, high = np.percentile(detector.calibration_.scores, [25, 75])
        size = np.maximum(np.abs(wanted.anomaly_score), high - low)
        assert scores.dtype == np.float64
        assert np.max(np.abs(scores - wanted.anomaly_score) / size) < CLOSE
        np.testing.assert_array_equal(p, wanted.p_value)
        np.testing.assert_array_equal(flags, wanted.p_value <= 0.05)


EXAMPLES_ROWS = {modality: rows for modality, (rows, _) in DATA.items()}


# -- every criterion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("label", EXAMPLES)
def test_every_criterion_has_a_graph_or_says_why_not(fitted, label):
    detector, example = fitted(label), EXAMPLES[label]
    member, seen = detector.members_[0], 0
    for name, home in detector.offered_.homes.items():
        kind = load(home)
        if not issubclass(kind, PointCriterion):
            assert (kind in WRITERS) == (not kind.needs_beside_tensors)
            continue
        criterion = member.criterion(name, detector.unit_, home)
        (piece,) = detector.plan_.reader.pieces(example.new, member.encoder)
        codes = detector.encode(member.encoder, piece)
        if lacking(kind):
            with pytest.raises(NotImplementedError, match="no form that a graph can hold"):
                criterion.of_block(codes)
            continue
        seen += 1
        with torch.no_grad():
            found = criterion.of_block(codes)
        wanted = criterion.score(codes)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), wanted, rtol=CLOSE, atol=CLOSE * np.abs(wanted).max())
    assert seen or detector.modality == "sequence"


# -- whole graphs -------------------------------------------------------------------------------------

IGNORED = np.eye(*EXAMPLES["ImageFlowDetector"].rows.shape[1:3], dtype=bool)
"""Pixels of images that are left out."""

GRAPHS = [
    ("EnergyDetector", {}),
    ("EnergyDetector", {"energy": "dsebm", "criterion": "energy"}),
    (EXPERTS, {"criterion": "reconstruction"}),
    ("FlowDetector", {"coupling": "spline"}),
    ("FlowDetector", {"fallback": "gaussian", "criterion": "divergence"}),
    ("VAEDetector", {"criterion": "typicality"}),
    ("ImageEnergyDetector", {"pool": "max", "criterion": "reconstruction"}),
    ("ImageEnergyDetector", {"ignore": IGNORED}),
    ("ImageFlowDetector", {"criterion": "likelihood"}),
    ("ImageFlowDetector", {"criterion": "likelihood", "ignore": IGNORED}),
    ("ImageVAEDetector", {}),
    *[
        ("SequenceEnergyDetector", {"per": "step", "criterion": name})
        for name in ("max_channel", "score_test")
    ],
    ("SequenceEnergyDetector", {"per": "sequence", "criterion": "score_test"}),
    ("SequenceEnergyDetector", {"per": "sequence", "criterion": "reconstruction"}),
]


@pytest.mark.filterwarnings("ignore:a Gaussian replaces the flow", "ignore:p-values are coarse")
@pytest.mark.parametrize(("label", "params"), GRAPHS, ids=[f"{label} {[*given]}" for label, given in GRAPHS])
def test_a_graph_gives_the_numbers_of_its_detector(label, params):
    example = EXAMPLES[label]
    check_equal(example.fit(**params), example.new)


def test_a_graph_takes_any_number_of_images():
    example = EXAMPLES["ImageVAEDetector"]
    detector = example.fit()
    graph = session(to_onnx(detector))
    whole = graph.run(None, {"image": example.rows})[0]
    for count in (1, 3, 100):
        part = graph.run(None, {"image": example.rows[:count]})[0]
        np.testing.assert_allclose(part, whole[:count], rtol=1e-6)


@pytest.mark.parametrize(
    ("label", "name"), [("ImageFlowDetector", None), ("SequenceEnergyDetector", "energy")]
)
def test_what_no_graph_can_hold_is_refused_by_name_and_what_would_do_does(label, name):
    example = EXAMPLES[label]
    detector = example.fit(criterion=name)
    with pytest.raises(ValueError, match=f"{type(detector).__name__} with criterion='.+'.+needs") as refusal:
        to_onnx(detector)
    advised = str(refusal.value).split("criterion=")[2].split("'")[1]
    check_equal(example.fit(criterion=advised), example.new)


# -- images -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:p-values are coarse")
def test_colour_images_of_floats_and_those_with_pixels_that_are_no_numbers():
    pictures = np.random.default_rng(0).uniform(0, 1, (60, 5, 6, 3)).astype(np.float32)
    params = {"epochs": 1, "filters": [2], "latent": 2, "calibration": "split"}
    detector = upland.ImageVAEDetector(**params, random_state=0, progress=False).fit(pictures)
    graph = session(to_onnx(detector))
    odd = pictures[:4].copy()
    odd[1, 0, 0, 0], odd[2, 1, 1, 1] = np.nan, np.inf
    scores, p, flags = graph.run(None, {"image": odd})
    np.testing.assert_allclose(scores[[0, 3]], detector.anomaly_score(odd[[0, 3]]), rtol=CLOSE)
    assert np.isnan(scores[[1, 2]]).all()
    assert np.isnan(p[[1, 2]]).all()
    assert flags[[1, 2]].all()


# -- sequences ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:p-values are coarse")
@pytest.mark.parametrize("criterion", ["score_test", "max_channel"])
def test_sequences_of_several_lengths(criterion):
    rng = np.random.default_rng(0)
    waves = [np.sin(np.arange(n) / 3)[:, None] + rng.normal(0, 0.1, (n, 2)) for n in rng.integers(2, 30, 40)]
    detector = upland.SequenceEnergyDetector(
        criterion=criterion,
        frame=4,
        hidden=[4],
        epochs=1,
        calibration="cross",
        random_state=0,
        progress=False,
    ).fit(waves)
    graph = session(to_onnx(detector))
    steps = np.concatenate(waves)
    given = {"lengths": np.array([len(wave) for wave in waves])}
    scores, p, _ = graph.run(None, given | {name: steps[:, at] for at, name in enumerate(("x0", "x1"))})
    wanted = detector.assess(waves)
    np.testing.assert_allclose(scores, wanted.anomaly_score, rtol=1e-9)
    np.testing.assert_array_equal(p, wanted.p_value)


def test_a_step_that_upland_refuses_takes_the_later_ones_with_it():
    example = EXAMPLES["SequenceEnergyDetector"]
    graph = session(to_onnx(example.fit(criterion="max_channel")))
    new = example.new.copy()
    new.loc[10, "wave"] = np.inf
    scores, _, flags = graph.run(None, feeds(graph, new))
    lost = (new["machine"] == "a").to_numpy() & (np.arange(len(new)) >= 10)
    np.testing.assert_array_equal(np.isnan(scores), lost)
    assert flags[lost].all()


# -- modules of the user's own ------------------------------------------------------------------------


class Twisted(torch.nn.Module):
    """An energy whose gradient is left to PyTorch."""

    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, 6)

    def forward(self, x):
        return 0.5 * x.square().sum(1) - torch.nn.functional.softplus(self.layer(x)).sum(1)


class Untraceable(Twisted):
    """One that goes by the numbers themselves."""

    def forward(self, x):
        return super().forward(x) * (2.0 if bool((x[:1] > 100).any()) else 1.0)


def test_a_module_of_ones_own_is_traced_through_its_gradient():
    rows = np.random.default_rng(0).normal(size=(120, 3))
    detector = upland.EnergyDetector(
        model=Twisted,
        epochs=1,
        noise=0.5,
        criterion="reconstruction",
        calibration="split",
        random_state=0,
        progress=False,
    ).fit(rows)
    graph = session(to_onnx(detector))
    scores = graph.run(None, {f"x{at}": rows[:, at] for at in range(3)})[0]
    np.testing.assert_allclose(scores, detector.anomaly_score(rows), rtol=CLOSE)


def test_a_module_that_cannot_be_traced_is_named():
    rows = np.random.default_rng(0).normal(size=(120, 3))
    detector = upland.EnergyDetector(
        model=Untraceable, epochs=1, noise=0.5, calibration="split", random_state=0, progress=False
    ).fit(rows)
    with pytest.raises(ValueError, match="PyTorch writes no ONNX graph of a ModuleEnergy: "):
        to_onnx(detector)


# -- operations that are translated here --------------------------------------------------------------

TABLE = torch.tensor([[-1.0, 0.0, 0.0, 2.0, float("inf")], [0.0, 1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)


def _cholesky(x):
    root = torch.linalg.cholesky_ex(x[:, :, None] * x[:, None] + 0.1 * torch.eye(4, dtype=x.dtype))[0]
    return root.flatten(1)


FUNCTIONS = {
    "searchsorted left": lambda x: torch.searchsorted(TABLE, x[:, :2].T.contiguous()).T,
    "searchsorted right": lambda x: torch.searchsorted(TABLE, x[:, :2].T.contiguous(), right=True).T,
    "copysign": lambda x: torch.copysign(x.abs() + 1, x),
    "cholesky": _cholesky,
    "log1p": lambda x: torch.log1p(1e-9 * x.abs()),
    "of each number": lambda x: torch.stack(
        [x.exp(), x.abs().log(), x.sigmoid(), x.tanh(), torch.nn.functional.silu(x)]
    ).transpose(0, 1),
    "softplus": lambda x: torch.nn.functional.softplus(20 * x),
    "numbers": lambda x: (0.9189385332046727 * x - 1 / 3) / 0.7 + (x.abs() + 0.1) ** (1 / 3),
    "softmax": lambda x: x.softmax(1) + x.log_softmax(-1),
}


def _side_by_side(x):
    return torch.cat([function(x).flatten(1).double() for function in FUNCTIONS.values()], 1)


def test_operations_are_those_of_pytorch():
    rows = torch.cat([normal(30, 4), torch.tensor([[0.5, 2.0, -1.0, 4.0], [1.0, 0.5, 2.0, 3.0]])])
    found = ran(_side_by_side, rows)
    np.testing.assert_allclose(found, _side_by_side(rows).numpy(), rtol=1e-12, atol=1e-15)


WIDTHS = (3, 7, 29, 100)


def _sums(x):
    return torch.stack([x[:, :width].contiguous().sum(1) for width in WIDTHS], 1)


def test_single_precision_sums_are_those_of_pytorch_bit_by_bit():
    rows = normal(50, max(WIDTHS), dtype=torch.float32)
    np.testing.assert_array_equal(ran(_sums, rows), _sums(rows).numpy())


def ran(function, rows):
    """A function of rows, run as a graph."""
    graph = Graph()
    width = rows.shape[1]
    x = graph.input("x", rows.numpy().dtype, ["N", width])
    graph.output(traced(function, torch.nn.Identity(), x, (width,)), "y", ["N", "K"])
    return session(graph.model("test", "test", "1", {}).SerializeToString()).run(None, {"x": rows.numpy()})[0]
