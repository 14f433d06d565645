"""A model that gives no number is an error wherever a number would come out: scores, shares, groups."""

import copy

import numpy as np
import pytest
import torch

import upland
from normals import NORMAL, SIZES, fitted

NAN = float("nan")


def broken(made, **options):
    """A fitted detector whose weights (of the experts all that is stored) have become NaN, and whose criteria
    are to be fitted again.
    """
    detector = copy.deepcopy(fitted(made, **options))
    for member in detector.members_:
        if detector.modality != "sequence":
            member.criteria.clear()
        with torch.no_grad():
            weights = [*member.model.parameters()]
            if options:
                weights += [value for value in member.model.buffers() if value.is_floating_point()]
            for weight in weights:
                weight.fill_(NAN)
    return detector


MADE = [*[(made, {}) for made in SIZES], (upland.EnergyDetector, {"energy": "experts"})]


@pytest.mark.parametrize(("made", "options"), MADE)
@pytest.mark.filterwarnings("ignore")
def test_scores_shares_and_groups_refuse_what_is_no_number(made, options):
    detector = broken(made, **options)
    new = NORMAL[detector.modality](count=40, seed=1)
    for criterion in detector.offered_.homes:
        detector.set_params(criterion=criterion)
        with pytest.raises(FloatingPointError, match="no number"):
            detector.anomaly_score(new)
        with pytest.raises(FloatingPointError, match="no number"):
            upland.explain(detector, new)
    detector.set_params(criterion="auto")
    count = len(new)
    for statistic in ("auto", "likelihood", "typicality", "projections"):
        with pytest.raises(FloatingPointError, match="no number"):
            detector.score_groups(new, np.arange(count) % 2, statistic=statistic)
