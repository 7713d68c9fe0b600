"""Suites: frozen, versioned lists of probes, each with the image sets it runs on and how many images of them.

A suite is never edited once published: a change of probes, sets or counts is a new version, since it changes numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from probekit import probes
from probekit.collect import Counts
from probekit.data import ImageSet
from probekit.errors import ProbeError, did_you_mean


@dataclass(frozen=True)
class Plan:
    """Probes on one image set.

    Args:
        data: the image set, as `probekit.data.load` takes it.
        probes: names of the probes.
        counts: how many images each part of a measurement uses.
        explicit: whether the user named the probes, so that one that cannot run is an error.

    Example:
        >>> SUITES["attention"].plans[0].probes
        ('attention_distance', 'attention_entropy', 'attention_nmi', 'attention_maps')
    """

    data: Any
    probes: tuple[str, ...]
    counts: Counts = field(default_factory=Counts)
    explicit: bool = False


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
"""Version 2 of `paper`; the other suites have no version 3."""

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
        3,
        "the experiments of the paper, on the image sets that ship",
        (
            Plan(QUADTREE, ON_QUADTREE, ENOUGH_READ),
            Plan(SHAPES, ON_SHAPES, ENOUGH),
            Plan(PHOTOS, ON_PHOTOS, ENOUGH_PHOTOS),
        ),
    ),
    "all": Suite(
        2,
        "every probe on every image set that ships",
        tuple(Plan(data, (*EVERYTHING, *LATER)) for data in (QUADTREE, SHAPES, PHOTOS)),
    ),
}
"""Name -> suite, the newest version."""

EARLIER: dict[str, Suite] = {f"{name}@{suite.version}": suite for name, suite in FIRST.items()} | {"paper@2": SECOND}
"""`name@version` -> suite: every version stays callable."""

HOME = {
    **dict.fromkeys((*LEVELS, "expected_levels", "identifiability"), QUADTREE),
    **dict.fromkeys((*ATTENTION, "attention_maps", "reconstruction", "low_level", "colour_accuracy"), PHOTOS),
    **dict.fromkeys(("depth", "correspondence"), STEREO),
}
"""The image set on which a probe runs when it is asked for by name without data; `shapes` for the others."""


def as_list(suite: Any) -> Any:
    """An iterable of probe names as a list; a name as it is; a `ProbeError` for what is neither."""
    if not isinstance(suite, Iterable):
        raise ProbeError(f"suite={suite!r}: expected a suite ({', '.join(SUITES)}), a probe, or a list of probes.")
    return suite if isinstance(suite, str) else list(suite)


def published(suite: Any) -> Suite | None:
    """The suite called `paper` (newest version) or `paper@1`; None if there is no such suite.

    Raises:
        ProbeError: a version that the suite does not have.
    """
    if not isinstance(suite, str):
        return None
    if suite in SUITES or suite in EARLIER:
        return SUITES.get(suite) or EARLIER[suite]
    name, at, version = suite.partition("@")
    if not at or name not in SUITES:
        return None
    if version == str(SUITES[name].version):
        return SUITES[name]
    known = [key for key in EARLIER if key.startswith(f"{name}@")]
    known += [f"{name}@{SUITES[name].version}"] if f"{name}@{SUITES[name].version}" not in known else []
    raise ProbeError(f"The suite {name!r} has no version {version!r}. Known: {', '.join(known)}.")


def beside(names: Sequence[str]) -> tuple[str, ...]:
    """Probes that also run, where they apply, without being asked for.

    `expected_levels` beside all (what theory expects of the checkpoint's masks); `colour_accuracy` beside accuracies.
    """
    measured = [variable.name for name in names for variable in probes.find(name).variables]
    found = ["expected_levels", *(["colour_accuracy"] if any("accuracy" in name for name in measured) else [])]
    return tuple(name for name in found if name not in names)


def plans(suite: str | Sequence[str], data: Any = None, counts: Counts | None = None) -> list[Plan]:
    """What to run where.

    Args:
        suite: a suite's name, a probe's name, or a list of probe names.
        data: None (the suite's own sets), one source, or a list of them.
        counts: how many images, instead of the plans' own.

    Raises:
        ProbeError: an unknown suite or probe.
    """
    if isinstance(data, list | tuple) and not data:
        raise ProbeError("data is an empty list; expected an image set, a list of some, or None for the suite's own.")
    several = isinstance(data, list | tuple) and not _pair(data)
    data = tuple(data) if isinstance(data, list) and not several else data  # [images, labels] is (images, labels)
    found = _named(suite) if data is None else _on(suite, data if several else [data])
    return [Plan(plan.data, plan.probes, counts or plan.counts, plan.explicit) for plan in found]


def _pair(data: Sequence[Any]) -> bool:
    """Whether this is one image set given as (images, labels), rather than a list of image sets."""
    return len(data) == 2 and hasattr(data[0], "shape")


def listed(suite: str | Sequence[str]) -> tuple[str, ...]:
    """Names of the probes asked for one by one; every one exists."""
    chosen = (suite,) if isinstance(suite, str) else tuple(as_list(suite))
    if not chosen:
        raise ProbeError(f"An empty list of probes. Known: {', '.join(probes.names())}.")
    for name in chosen:
        if name in probes.names():
            continue
        if published(name):
            raise ProbeError(f"{name!r} is a suite, and goes alone; a list is of probes: {', '.join(probes.names())}.")
        known = [*SUITES, *probes.names()] if isinstance(suite, str) else probes.names()
        what = "suite or probe" if isinstance(suite, str) else "probe"
        raise ProbeError(f"No {what} is called {name!r}. {did_you_mean(name, known, limit=30)}")
    return tuple(dict.fromkeys(chosen))


def _named(suite: str | Sequence[str]) -> list[Plan]:
    if found := published(suite):
        return list(found.plans)
    grouped: dict[str, list[str]] = {}
    for name in listed(suite):
        grouped.setdefault(HOME.get(name, SHAPES), []).append(name)
    return [Plan(data, tuple(names), explicit=True) for data, names in grouped.items()]


def _on(suite: str | Sequence[str], data: Sequence[Any]) -> list[Plan]:
    chosen = published(suite)
    if chosen is None:
        return [Plan(one, listed(suite), explicit=True) for one in data]
    out = []
    for one in data:
        home = str(one).partition("?")[0] if isinstance(one, str) else one.name if isinstance(one, ImageSet) else None
        same = next((plan for plan in chosen.plans if plan.data == home), None)
        out.append(Plan(one, same.probes if same else chosen.probes, same.counts if same else Counts()))
    return out


def describe(suite: str | Sequence[str]) -> dict[str, Any]:
    """For provenance: the suite's name and version, or the probes asked for."""
    if found := published(suite):
        return {"suite": str(suite).partition("@")[0], "suite_version": found.version}
    return {"suite": list(listed(suite))}


def recorded(told: Mapping[str, Any]) -> Any:
    """The suite of a provenance, as `plans` takes it: of its own version, if there is a newer one; None if unknown."""
    suite = told.get("suite")
    if not isinstance(suite, str) or suite not in SUITES or told.get("suite_version") in (None, SUITES[suite].version):
        return suite
    return f"{suite}@{told['suite_version']}"


def own(training_data: str | None) -> Mapping[str, str] | None:
    """Which shipped sets fit a checkpoint by what it was trained on: plan data -> spec to use; None = no opinion.

    One that was trained on the generated quadtree sees the same process again; every other sees pictures.
    """
    if training_data is None:
        return None
    spec = training_data.split(" ")[0].rstrip(",;")  # a card says "quadtree?height=4, train split"
    if spec.partition("?")[0] == QUADTREE:
        return {QUADTREE: spec}
    return {SHAPES: SHAPES, PHOTOS: PHOTOS}
