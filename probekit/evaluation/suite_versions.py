"""Every version of every suite: frozen lists of probes, each with its image sets and how many images of them it uses.

A suite is never edited once published: a change of probes, sets, counts or options is a new version, since it changes
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from probekit.collect import Counts


@dataclass(frozen=True)
class Plan:
    """Probes on one image set.

    Args:
        data: the image set, as `probekit.data.load` takes it.
        probes: names of the probes.
        counts: how many images each part of a measurement uses.
        explicit: whether the user named the probes, so that one that cannot run is an error.
        options: probe -> its options where they are not the defaults.
        not_for: beginnings of names of training sets: `data="own"` leaves this plan out for their encoders.

    Example:
        >>> SUITES["attention"].plans[0].probes
        ('attention_distance', 'attention_entropy', 'attention_nmi', 'attention_maps')
    """

    data: Any
    probes: tuple[str, ...]
    counts: Counts = field(default_factory=Counts)
    explicit: bool = False
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    not_for: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """Its probes, each with those of its options that are not the defaults: "level_recovery (landmarks: 256)"."""
        said = {
            probe: ", ".join(f"{name}: {value}" for name, value in each.items()) for probe, each in self.options.items()
        }
        return [f"{probe} ({said[probe]})" if probe in said else probe for probe in self.probes]

    def options_with(self, given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Its options and those that the user gave, which go first."""
        return {name: {**self.options.get(name, {}), **given.get(name, {})} for name in (*self.options, *given)}


@dataclass(frozen=True)
class Suite:
    """A published list of plans.

    Args:
        version: grows with every change of probes, image sets or counts, since it changes numbers.
        summary: one line for `probekit probes`.
        plans: the probes on each image set.

    Example:
        >>> SUITES["attention"].version
        1
    """

    version: int
    summary: str
    plans: tuple[Plan, ...]

    @property
    def probes(self) -> tuple[str, ...]:
        """All of its probes, in order of first use."""
        return tuple(dict.fromkeys(name for plan in self.plans for name in plan.probes))


QUADTREE, SHAPES, PHOTOS, STEREO = "quadtree", "shapes", "photos", "stereo_motorcycle"
ATTENTION = ("attention_distance", "attention_entropy", "attention_nmi")
CLASSES = ("linear_probe", "knn")
LATENTS = ("latent_recovery", "level_spectrum")
LEVELS = ("level_recovery", *LATENTS)
SHIFTED = ("robustness", "shape_bias")
EVERYTHING = (
    *CLASSES,
    *LATENTS,
    "reconstruction",
    *ATTENTION,
    "attention_maps",
    "object_focus",
    "label_free",
    "low_level",
    *SHIFTED,
    "embedding",
    "expected_levels",
    "colour_accuracy",
)
"""The probes of the suite `all`, version 1."""

LATER = (
    "level_recovery", "level_ladder", "mask_response", "attentive_probe", "identifiability", "multilabel_probe",
    "regression_probe", "low_shot", "retrieval", "calibration", "segmentation", "depth", "correspondence",
)  # fmt: skip
"""What the suite `all` holds besides since version 2."""

BRIEF = Counts(
    train=600, val=150, test=300, images=128, pairs=150, objects=40, views=4, shifted=120, gradients=12, pictures=8
)
"""The counts of the suite `paper`, version 1: a checkpoint takes about 2,000 forwards, so that a grid of 40 small ones
takes minutes on two cores. Suites without counts of their own take the defaults of `Counts`."""

FEWER = replace(BRIEF, train=300, val=100, test=150)
"""As `BRIEF`, for the few photographs there are."""

LONGER = replace(BRIEF, objects=100, gradients=64, ladder=300)
"""The counts of the suite `paper`, version 2: 40 objects and 12 gradients were too few for intervals that hold."""

READ = replace(LONGER, train=2000, val=400, test=1000)
"""As `LONGER`, with images enough to read the noise of every level: the recovery profile of 600 images is .1 lower."""

ENOUGH = replace(LONGER, images=96, gradients=32)
"""The counts of the suite `paper`, version 3: what stands beside others is seen on as many images as its interval needs
to be a fraction of the spread between the checkpoints that ship. Half widths that follow from version 2, over that
spread: gradients .04 of .13, attention on the object .02 of .12. The ladder and the pairs keep their numbers: whitened
features need two images for each dimension."""

ENOUGH_READ = replace(ENOUGH, train=2000, val=300, test=500, images=64)
"""As `ENOUGH`, for the quadtree. Training images decide what is read, so they stay; the others widen intervals alone:
amount gained .04 of .46, reconstruction .001 of .01."""

ENOUGH_PHOTOS = replace(ENOUGH, train=300, val=100, test=150, images=64)
"""As `ENOUGH`, for the few photographs there are."""

QUICK_READ = replace(ENOUGH_READ, train=1200, val=200, test=300, images=48)
"""The counts of the suite `paper`, version 4, for the quadtree. Over the cells that ship, amounts read .016 lower than
in version 3 and correlate with those by .9995; their half width is .056 (it was .041) of a deviation between cells of
.38. A checkpoint takes half the time, with half the landmarks, which read .005 lower at most."""

WHITENED_PHOTOS = replace(ENOUGH_PHOTOS, train=200, val=64, test=256, ladder=256)
"""The counts of the suite `paper`, version 4, for photographs: test images enough to whiten features of width 128."""

PRECISE = Counts(train=3000, val=500, test=1500)
"""The counts of the suite `latents`, version 2."""

FIRST: dict[str, Suite] = {
    "high_level": Suite(
        1,
        "what is known of classes, shapes and the latents of a generating process",
        (Plan(QUADTREE, (*CLASSES, *LATENTS)), Plan(SHAPES, (*CLASSES, *SHIFTED, "object_focus"))),
    ),
    "low_level": Suite(
        1, "pixels, colour, contrast, orientation, texture", (Plan(PHOTOS, ("reconstruction", "low_level")),)
    ),
    "attention": Suite(
        1,
        "where attention goes",
        (Plan(PHOTOS, (*ATTENTION, "attention_maps")), Plan(SHAPES, (*ATTENTION, "object_focus"))),
    ),
    "latents": Suite(1, "the level of representation on a known generating process", (Plan(QUADTREE, LATENTS),)),
    "label_free": Suite(1, "measures that need no labels", (Plan(SHAPES, ("label_free",)),)),
    "paper": Suite(
        1,
        "the experiments of the paper, on the image sets that ship",
        (
            Plan(QUADTREE, (*CLASSES, *LATENTS, "reconstruction", *ATTENTION), BRIEF),
            Plan(SHAPES, (*CLASSES, *SHIFTED, "object_focus", "label_free", "embedding"), BRIEF),
            Plan(PHOTOS, ("reconstruction", *ATTENTION, "attention_maps", "low_level"), FEWER),
        ),
    ),
    "dense": Suite(
        1,
        "what frozen patch tokens tell of every pixel",
        (Plan(SHAPES, ("segmentation",)), Plan(STEREO, ("correspondence",))),
    ),
    "transfer": Suite(
        1,
        "what frozen features are worth on other tasks: classes of many and few images, retrieval, confidence, pixels",
        (
            Plan(SHAPES, (*CLASSES, "attentive_probe", "low_shot", "retrieval", "calibration", "segmentation")),
            Plan(STEREO, ("depth", "correspondence")),
        ),
    ),
    "all": Suite(
        1,
        "every probe on every image set that ships",
        tuple(Plan(data, EVERYTHING) for data in (QUADTREE, SHAPES, PHOTOS)),
    ),
}
"""Version 1 of every suite."""

ON_QUADTREE = (*CLASSES, *LEVELS, "reconstruction", *ATTENTION)
ON_SHAPES = (*CLASSES, *SHIFTED, "object_focus", "label_free", "embedding", "level_ladder")
ON_PHOTOS = ("reconstruction", *ATTENTION, "attention_maps", "low_level", "level_ladder")
"""The probes of the suite `paper` since version 2."""

SECOND = Suite(
    2,
    "the experiments of the paper, on the image sets that ship",
    (
        Plan(QUADTREE, ON_QUADTREE, READ),
        Plan(SHAPES, ON_SHAPES, LONGER),
        Plan(PHOTOS, ON_PHOTOS, replace(LONGER, train=300, val=100, test=150)),
    ),
)
"""Version 2 of `paper`."""

THIRD = Suite(
    3,
    "the experiments of the paper, on the image sets that ship",
    (
        Plan(QUADTREE, ON_QUADTREE, ENOUGH_READ),
        Plan(SHAPES, ON_SHAPES, ENOUGH),
        Plan(PHOTOS, ON_PHOTOS, ENOUGH_PHOTOS),
    ),
)
"""Version 3 of `paper`; the other suites have no version 3."""

SUITES: dict[str, Suite] = {
    **FIRST,
    "high_level": Suite(
        2,
        "what is known of classes, shapes and the latents of a generating process; what levels features keep apart",
        (
            Plan(QUADTREE, (*CLASSES, *LEVELS)),
            Plan(SHAPES, (*CLASSES, *SHIFTED, "object_focus", "level_ladder")),
            Plan(PHOTOS, ("level_ladder",)),
        ),
    ),
    "latents": Suite(
        2, "the level of representation on a known generating process", (Plan(QUADTREE, LEVELS, PRECISE),)
    ),
    "paper": Suite(
        4,
        "the experiments of the paper, on the image sets that ship",
        (
            Plan(QUADTREE, ON_QUADTREE, QUICK_READ, options={"level_recovery": {"landmarks": 256}}),
            Plan(SHAPES, ON_SHAPES, ENOUGH, not_for=("cifar",)),
            Plan(PHOTOS, ON_PHOTOS, WHITENED_PHOTOS),
        ),
    ),
    "all": Suite(
        2,
        "every probe on every image set that ships",
        tuple(Plan(data, (*EVERYTHING, *LATER)) for data in (QUADTREE, SHAPES, PHOTOS)),
    ),
}
"""Name -> suite, the newest version."""

EARLIER: dict[str, Suite] = {f"{name}@{suite.version}": suite for name, suite in FIRST.items()} | {
    "paper@2": SECOND,
    "paper@3": THIRD,
}
"""`name@version` -> suite: every version stays callable."""

HOME = {
    **dict.fromkeys((*LEVELS, "expected_levels", "identifiability"), QUADTREE),
    **dict.fromkeys((*ATTENTION, "attention_maps", "reconstruction", "low_level", "colour_accuracy"), PHOTOS),
    **dict.fromkeys(("depth", "correspondence"), STEREO),
}
"""The image set on which a probe runs when it is asked for by name without data; `shapes` for the others."""
