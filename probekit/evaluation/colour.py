"""What colour alone tells of the classes, beside every accuracy on an image set whose colours nearly tell them."""

from __future__ import annotations

from functools import lru_cache

import xarray as xr

from probekit.collect import Splits
from probekit.collect.identity import ranks
from probekit.data import ImageSet, baselines
from probekit.evaluation.results import Arrays
from probekit.measures import resample
from probekit.schema import Variable

VARIABLE = Variable(
    "colour_accuracy",
    (),
    "Accuracy of a colour histogram",
    "1",
    "none",
    f"{baselines.K} nearest neighbours by RGB histogram ({baselines.BINS} bins a channel) by Hellinger distance, "
    "the train split of the image set against its test split; no checkpoint takes part in it",
    "a baseline for image sets whose colours nearly tell the classes",
    interval="bootstrap over test images (their groups where the image set has groups)",
)


def beside(sets: Splits, measured: Arrays) -> Arrays:
    """`colour_accuracy`, where an accuracy was measured on a set that asks for it; else nothing."""
    accuracies = [name for name in measured if "accuracy" in name]
    if not accuracies or not sets.any.colour_baseline or not (sets.has("train") and sets.has("test")):
        return {}
    return dict(_found(sets["train"], sets["test"]))


@lru_cache(maxsize=4)
def _found(train: ImageSet, test: ImageSet) -> tuple[tuple[str, xr.DataArray], ...]:
    correct = baselines.colour_correct(train, test, k=min(baselines.K, len(train)))
    interval = resample.mean_interval(correct, groups=test.groups, order=ranks(test, len(test)))
    return tuple(VARIABLE.arrays(correct.mean(), interval).items())
