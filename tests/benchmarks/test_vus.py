"""VUS-PR equals the published code's values, values by hand, and its limits in closed form."""

import numpy as np
import pytest
from benchmarks.vus import affiliation_f, merged, range_auc_pr, segments_of, vus_pr
from sklearn.metrics import average_precision_score

from benchmarks import vus


def marks(length, *segments):
    labels = np.zeros(length, dtype=np.int64)
    for first, last in segments:
        labels[first : last + 1] = 1
    return labels


def t(length):
    return np.arange(length)


SERIES = {
    "one segment": (marks(400, (180, 209)), t(400) * 7919 % 401 / 401),
    "both ends": (marks(300, (0, 9), (150, 150), (280, 299)), t(300) ** 2 % 307 / 307),
    "close segments": (
        marks(500, (100, 119), (130, 139), (200, 260), (420, 424)),
        np.abs(t(500) * 37 % 200 - 100) / 100 + t(500) * 31 % 17 / 17,
    ),
    "ties": (marks(350, (60, 90), (250, 270)), t(350) ** 2 % 7),
    "good scores late": (
        marks(600, (300, 349)),
        1 / (1 + ((t(600) - 340) / 40) ** 2) + t(600) * 101 % 97 / 400,
    ),
}
# generate_curve(labels, scores, longest, "opt", thresholds)[-1] of TSB_AD.evaluation.basic_metrics,
# the package TSB-AD 1.5 from PyPI by the authors of the measure, under NumPy 2.4.6
PUBLISHED = [
    ("one segment", 0, 250, 0.07923667626368827),
    ("one segment", 7, 50, 0.091322526631329),
    ("one segment", 40, 250, 0.12111974576950651),
    ("one segment", 100, 250, 0.18879737215586423),
    ("both ends", 0, 250, 0.07781588554793258),
    ("both ends", 7, 50, 0.08652422333807364),
    ("both ends", 40, 250, 0.1569431749640627),
    ("both ends", 100, 250, 0.30778091572044647),
    ("close segments", 0, 250, 0.20435084989539185),
    ("close segments", 7, 50, 0.21912444427854966),
    ("close segments", 40, 250, 0.3407746335870817),
    ("close segments", 100, 250, 0.4992398867205765),
    ("ties", 0, 250, 0.1498076923076923),
    ("ties", 7, 50, 0.1641549089210126),
    ("ties", 40, 250, 0.24364124497766343),
    ("ties", 100, 250, 0.3913097795826212),
    ("good scores late", 0, 250, 0.7851809649966874),
    ("good scores late", 7, 50, 0.7932476523231674),
    ("good scores late", 40, 250, 0.9186861679041018),
    ("good scores late", 100, 250, 0.9615014583101926),
]


@pytest.mark.parametrize(("name", "longest", "thresholds", "value"), PUBLISHED)
def test_it_gives_what_the_published_code_gives(name, longest, thresholds, value):
    assert vus_pr(*SERIES[name], longest, thresholds) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("longest", [0, 7, 40])
@pytest.mark.parametrize("name", SERIES)
def test_it_gives_what_the_installed_package_gives(name, longest):
    module = pytest.importorskip(
        "TSB_AD.evaluation.basic_metrics", reason="needs TSB_AD: pip install --no-deps TSB_AD==1.5"
    )
    labels, scores = SERIES[name]
    *_, recall, precision, _, _, volume = module.generate_curve(labels, scores, longest)
    recall, precision = (part.reshape(longest + 1, -1)[-1] for part in (recall, precision))
    assert vus_pr(labels, scores, longest) == pytest.approx(volume, rel=1e-12)
    area = np.sum(np.diff(recall) * precision[1:])
    assert range_auc_pr(labels, scores, longest) == pytest.approx(area, rel=1e-12)


def test_the_volume_is_the_mean_of_the_areas():
    labels, scores = SERIES["close segments"]
    areas = [range_auc_pr(labels, scores, width) for width in range(31)]
    assert vus_pr(labels, scores, 30) == pytest.approx(np.mean(areas), rel=1e-12)
    assert len(set(areas)) > 20


def test_affiliation_is_the_package_s_or_none(monkeypatch):
    class Package:
        @staticmethod
        def basic_metricor():
            return Package

        @staticmethod
        def metric_Affiliation(labels, scores, flags):
            return float((labels * flags).sum() / flags.sum())

    labels = marks(1000, (500, 509))
    monkeypatch.setattr(vus, "package", lambda: Package)
    assert affiliation_f(labels, labels.astype(float)) == 1.0
    assert affiliation_f(labels, np.ones(1000)) == 0.0  # nothing is flagged
    monkeypatch.setattr(vus, "package", lambda: None)
    assert affiliation_f(labels, labels.astype(float)) is None


def test_buffers_by_hand():
    # width 0 and 1: nothing at the first threshold, half precision at the second.
    # width 2: the first flagged step lies in a buffer and weighs sqrt(1 - 1/2).
    half = np.sqrt(0.5)
    recall = half / (1 + half / 2)
    area = recall * half + (1 - recall) * (1 + half) / 2
    assert vus_pr([0, 1, 0, 0], [4, 3, 1, 2], 2, None) == pytest.approx((0.5 + 0.5 + area) / 3, rel=1e-12)


def test_half_of_the_segments_earn_half_of_their_recall():
    # average precision is 1/2 + 1/2 * 2/6; the missing segment halves the first recall: 1/4 + 3/4 * 2/6
    assert vus_pr([1, 0, 0, 0, 0, 1], [6, 1, 2, 3, 4, 0], 0, None) == pytest.approx(0.5, rel=1e-12)


def test_without_buffers_one_segment_gives_average_precision():
    for seed in range(5):
        scores = np.random.default_rng(seed).normal(size=300).round(1)
        labels = marks(300, (40 * seed, 40 * seed + 25))
        assert vus_pr(labels, scores, 0, None) == pytest.approx(
            average_precision_score(labels, scores), rel=1e-12
        )


@pytest.mark.parametrize("thresholds", [None, 250])
def test_scores_that_are_the_labels_give_one(thresholds):
    for labels, _ in SERIES.values():
        assert vus_pr(labels, labels, 100, thresholds) == pytest.approx(1.0, rel=1e-12)


def test_constant_scores_give_the_share_of_blurred_labels():
    labels = marks(1000, (500, 549))
    blurred = [50 + 2 * sum(np.sqrt(1 - d / width) for d in range(1, width // 2 + 1)) for width in range(21)]
    assert vus_pr(labels, np.ones(1000), 20) == pytest.approx(np.mean(blurred) / 1000, rel=1e-12)


def test_only_the_order_of_the_scores_counts():
    labels, scores = SERIES["close segments"]
    assert vus_pr(labels, np.exp(3 * scores)) == vus_pr(labels, scores)


def test_a_peak_beside_the_segment_earns_more_with_buffers():
    labels = marks(400, (200, 219))
    scores = np.exp(-(((t(400) - 230) / 8.0) ** 2))
    assert vus_pr(labels, scores, 60) > 2 * vus_pr(labels, scores, 0)


def test_no_credit_for_steps_that_were_not_flagged():
    labels = marks(400, (200, 299))
    one = (t(400) == 250).astype(float)
    assert vus_pr(labels, one, 0) < 0.3  # point adjustment would call it perfect


def test_segments_and_how_they_merge():
    assert segments_of(marks(10, (0, 1), (4, 4), (8, 9))) == [(0, 1), (4, 4), (8, 9)]
    assert merged([(10, 12), (17, 18)], 2) == [(8, 14), (15, 20)]
    assert merged([(10, 12), (17, 18)], 3) == [(7, 21)]
    assert merged([(10, 12), (16, 18)], 2) == [(8, 20)]


@pytest.mark.parametrize(
    ("labels", "scores", "said"),
    [
        ([0, 0, 0], [1, 2, 3], "at least one anomalous step"),
        ([0, 1, 0], [1, np.nan, 3], "1 scores are not finite"),
        ([0, 1, 0], [1, 2], r"\(3,\).*\(2,\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, scores, said):
    with pytest.raises(ValueError, match=said):
        vus_pr(labels, scores)
