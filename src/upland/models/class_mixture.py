r"""A flow whose latents are a mixture of Gaussians, one for each class of the normal data (GlowGMM).

Under class c the latents z = f(x), D numbers, are independent N(mu_c, s_c^2), so that

    log p(x | c) = sum_i log N(z_i; mu_ci, s_ci^2) + log |det df/dx|,   p(x) = sum_c w_c p(x | c),

w_c the share of the class among the training images. The flow is trained with latents N(0, I), and the
classes' Gaussians are then fitted to the latents of its training images, in closed form. Means and variances
are drawn towards those of all classes together as if `PRIOR` images more had been seen that have these; a
class that is not among the training images of a member so has those of all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from upland.models.base import Latent, Level, LikelihoodModel
from upland.models.glow import Glow
from upland.models.stored import StoredModule, require

PRIOR = 10.0
"""Images of all classes that the Gaussian of each is drawn towards."""

LEAST_LOG_SCALE, MOST_LOG_SCALE = -4.0, 4.0
"""Of a latent within a class."""

AT_ONCE = 256
"""Images whose latents are computed at once."""


class ClassPrior(StoredModule):
    """The Gaussians of C classes in D latents; all N(0, I) at first.

    Args:
        classes: C.
        width: D.

    Attributes:
        means: `(C, D)`.
        log_scales: `(C, D)`.
        log_weights: `(C,)` of the shares of the classes.
    """

    means: Tensor
    log_scales: Tensor
    log_weights: Tensor

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, width, dtype=torch.float32))
        self.register_buffer("log_scales", torch.zeros(classes, width, dtype=torch.float32))
        even = torch.full((classes,), -math.log(classes), dtype=torch.float32)
        self.register_buffer("log_weights", even)

    def fit(self, z: Tensor, labels: Tensor) -> None:
        """Set the Gaussians to the moments of the classes.

        Args:
            z: `(N, D)` latents.
            labels: `(N,)` the number of the class of each.
        """
        z, classes = z.double(), len(self.means)
        of_all = z.mean(0)
        second = (z - of_all).square().mean(0)
        for number in range(classes):
            own = z[labels == number] - of_all
            count = len(own) + PRIOR
            mean = own.sum(0) / count
            variance = ((own - mean).square().sum(0) + PRIOR * (second + mean.square())) / count
            self.means[number] = of_all + mean
            self.log_scales[number] = (0.5 * variance.log()).clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)
        counts = torch.bincount(labels, minlength=classes).double() + 1
        self.log_weights.copy_((counts / counts.sum()).log())

    def standardised(self, z: Tensor, number: int) -> Tensor:
        """Latents in units of a class, N(0, I) under it: `(N, D) -> (N, D)`.

        Args:
            z: `(N, D)`.
            number: of the class.
        """
        return (z - self.means[number]) * (-self.log_scales[number]).exp()

    def log_density(self, z: Tensor, number: int) -> Tensor:
        """Log N(z; mu, s^2) of a class, in nats: `(N, D) -> (N,)`, float64.

        Args:
            z: `(N, D)`.
            number: of the class.
        """
        squares = self.standardised(z, number).square().sum(1, dtype=torch.float64)
        scales = self.log_scales[number].sum(dtype=torch.float64)
        return -0.5 * (squares + z.shape[1] * math.log(2 * math.pi)) - scales

    def check_values(self) -> None:
        """Refuse scales out of bounds, and shares that are not those of a whole."""
        scales = self.log_scales
        require(
            (scales >= LEAST_LOG_SCALE) & (scales <= MOST_LOG_SCALE), "scales of classes are out of bounds"
        )
        whole = self.log_weights.double().exp().sum()
        require((whole - 1).abs() < 1e-3, "the shares of classes must add up to one")


class ClassMixture(LikelihoodModel, Latent):
    """A Glow with a Gaussian of the latents for each class.

    Args:
        flow: of images.
        classes: number of classes, C.

    Examples:
        >>> import torch
        >>> flow = Glow((1, 8, 8), depth=2, hidden=8, generator=torch.Generator().manual_seed(0))
        >>> model = ClassMixture(flow, 2).eval()
        >>> x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)) - 0.5
        >>> model.fit_classes(x, torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> model.log_probs(x).argmax(1).tolist()
        [0, 0, 0, 1, 1, 1]
    """

    def __init__(self, flow: Glow, classes: int) -> None:
        super().__init__()
        self.flow = flow
        self.prior = ClassPrior(classes, math.prod(flow.shape))

    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """That of the flow.

        Args:
            x: `(N, C, H, W)`, training images.
            generator: not used: nothing is random here.
        """
        self.flow.init_from_data(x, generator)

    @torch.no_grad()
    def fit_classes(self, x: Tensor, labels: Tensor) -> None:
        """Set the Gaussian of each class to the latents of its images.

        Args:
            x: `(N, C, H, W)`, training images.
            labels: `(N,)` the number of the class of each.
        """
        z = torch.cat([self.encode(part)[0] for part in x.split(AT_ONCE)])
        self.prior.fit(z, labels.to(z.device))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All latents of each image, and the log-determinants: `(N, ...)` -> `(N, D)`, `(N,)`."""
        z, ladj = self.flow.encode(x)
        return torch.cat([part.flatten(1) for part in z], 1), ladj

    def log_probs(self, x: Tensor) -> Tensor:
        """Log p(x | c) of every class, in nats: `(N, ...)` -> `(N, C)`, float64."""
        z, ladj = self.encode(x)
        found = [self.prior.log_density(z, number) for number in range(len(self.prior.means))]
        return torch.stack(found, 1) + ladj[:, None]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x) of the mixture, in nats: `(N, ...) -> (N,)`, float64; in training, when classes have no
        Gaussians yet, that of the flow.
        """
        if self.training:
            return self.flow.log_prob(x)
        return (self.log_probs(x) + self.prior.log_weights.double()).logsumexp(1)

    def latents(self, x: Tensor) -> list[Level]:
        """The latents of the flow, whatever the class: `(N, ...)` -> list of `(N, ...)`."""
        return self.flow.latents(x)

    def of_class(self, number: int) -> ClassComponent:
        """The density of one class.

        Args:
            number: of the class.
        """
        return ClassComponent(self, number).eval()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Images drawn from the model: `(n, C, H, W)`.

        Args:
            n: number of images.
            generator: source of classes and latents; None draws from torch's own.
        """
        prior = self.prior
        even = torch.rand(n, generator=generator, dtype=torch.float32, device=prior.means.device)
        classes = torch.searchsorted(prior.log_weights.exp().cumsum(0)[:-1].contiguous(), even)
        noise = torch.randn(
            (n, prior.means.shape[1]), generator=generator, dtype=prior.means.dtype, device=prior.means.device
        )
        z = prior.means[classes] + noise * prior.log_scales[classes].exp()
        return self.flow.decode(self.in_levels(z)).detach()

    def in_levels(self, z: Tensor) -> list[Tensor]:
        """Latents in the shapes of the flow's levels: `(N, D)` -> list of `(N, ...)`."""
        shapes = self.flow.latent_shapes
        parts = z.split([math.prod(shape) for shape in shapes], 1)
        return [part.reshape(len(z), *shape) for part, shape in zip(parts, shapes, strict=True)]


class ClassComponent(LikelihoodModel, Latent):
    """One class of a mixture: log p(x | c), and latents that are N(0, I) under the class.

    Args:
        mixture: of all classes.
        number: of the class.
    """

    def __init__(self, mixture: ClassMixture, number: int) -> None:
        super().__init__()
        self.mixture, self.number = mixture, number

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x | c), in nats: `(N, ...) -> (N,)`, float64."""
        z, ladj = self.mixture.encode(x)
        return self.mixture.prior.log_density(z, self.number) + ladj

    def latents(self, x: Tensor) -> list[Level]:
        """The latents in units of the class: `(N, ...)` -> list of `(N, ...)`."""
        z = self.mixture.prior.standardised(self.mixture.encode(x)[0], self.number)
        return [Level(part) for part in self.mixture.in_levels(z)]
