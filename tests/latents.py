"""What models of images with two levels of latents might say of normal and other rows."""

import torch

from laws import normal
from upland.groups.outputs import ModelOutputs
from upland.models.base import Level

SHAPE = (3, 6, 4)


def image_outputs(count, seed=0, near=0.0, scale=1.0):
    """Rows of a model with one flat and one image level; `near` mixes neighbours, `scale` stretches."""
    z = normal(count, *SHAPE, seed=seed)
    z = scale * (z + near * z.roll(1, 3) + near * z.roll(1, 1))
    flat = scale * normal(count, 5, seed=seed + 1)
    points = torch.cat([z.flatten(1), flat], 1)
    return ModelOutputs(points, 0.5 * points.square().sum(1), [Level(z), Level(flat)], -points)


def latent_outputs(z):
    """Rows that are their own latents, under a standard normal model."""
    return ModelOutputs(z, 0.5 * z.double().square().sum(1), [Level(z)])


def value(statistic, outputs):
    """A fitted statistic of all rows as one group."""
    features = statistic.features(outputs)
    return float(statistic.value(features.mean(0, keepdim=True), torch.tensor([len(features)]))[0])


REFERENCE = image_outputs(400, seed=100)
