"""The cases of `coverage`: every kind of interval in the suites, with the simulation that stands for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probekit.measures import identifiability, label_free, multilabel
from probekit.measures.retrieval import calibration_error

sys.path.append(str(Path(__file__).parent))

from simulations import (
    GAIN,
    LARGE,
    OVERLAP,
    accuracy,
    balanced,
    blocked,
    cka,
    cka_interval,
    confident,
    debiased_interval,
    debiased_truth,
    decided,
    depth,
    features,
    grouped,
    iou,
    jackknifed,
    ladder_level,
    limit_interval,
    low_shot,
    masks,
    masks_truth,
    matched,
    mean,
    mean_of,
    one_by_one,
    profile,
    r2,
    reaching_interval,
    recall,
    scored,
    silhouette_interval,
    silhouette_truth,
    spectrum,
    spectrum_interval,
    subset_interval,
    two,
    views,
)

Floats = np.ndarray


@dataclass(frozen=True)
class Case:
    """A kind of interval, simulated.

    Attributes:
        words: what is simulated.
        covers: variables whose interval is made so, separated by blanks.
        images: of a test set (units of resampling, where they are others).
        simulate: (generator, simulations, images) -> intervals (simulations, 2), and the truth.
        share: of the simulations of a run, where one takes long.
        why: the explanation, where coverage is not 93 to 97 %.
    """

    words: str
    covers: str
    images: int
    simulate: Callable[[np.random.Generator, int, int], tuple[Floats, float]]
    share: float = 1.0
    why: str = ""


OUTCOMES = "linear_accuracy linear_accuracy_top5 majority_accuracy knn_accuracy robust_accuracy attentive_accuracy"
MEANS = (
    "attention_distance attention_entropy attention_nmi response_similarity response_level response_ssim ssim fsim "
    "psnr masked_ssim masked_fsim masked_psnr fourier_amplitude label_prevalence"
)
R2S = "latent_r2 low_level_r2 target_r2 block_r2 level_recovery_untrained"
CASES = (
    Case("accuracy .5", OUTCOMES, 1000, accuracy(0.5)),
    Case("accuracy .9", "correspondence_accuracy colour_accuracy attention_peak", 300, accuracy(0.9)),
    Case("accuracy .98 of few images", "robust_accuracy", 150, accuracy(0.98),
         why="Three wrong answers in 150: so small a share moves in steps, and the interval is too wide, not narrow."),
    Case("mean of a share", MEANS, 256, mean(lambda rng, shape: rng.beta(6, 2, shape), 0.75)),
    Case("mean of a skewed quantity (lognormal)", "mse masked_mse response_mse", 256,
         mean(lambda rng, shape: rng.lognormal(-0.5, 1.0, shape), 1.0)),
    Case("mean of average precisions", "retrieval_map", 300, mean(lambda rng, shape: rng.beta(0.6, 0.9, shape), 0.4)),
    Case("mean over few images", "object_focus object_focus_gradients object_focus_chance", 32,
         mean(lambda rng, shape: rng.beta(2, 5, shape), 2 / 7)),
    Case("mean over few images", "object_focus object_focus_gradients object_focus_chance", 64,
         mean(lambda rng, shape: rng.beta(2, 5, shape), 2 / 7)),
    Case("mean over 5 crops each of photographs", "ssim", 60, grouped),
    Case("share of the decided", "shape_bias", 500, decided),
    Case("balanced accuracy", "balanced_accuracy", 300, balanced),
    Case("Wilson's", "class_recall", 30, recall,
         why="Recall of 30 images moves in steps of a thirtieth."),
    Case("Student's t over 5 draws of train images", "low_shot_accuracy", 5, low_shot),
    Case("R² .9", R2S, 300, r2(0.3)),
    Case("R² .5", R2S, 1000, r2(1.0)),
    Case("R² .1", R2S, 1000, r2(3.0)),
    Case("root of a ratio", "depth_error depth_within", 60, depth,
         why="Sixty images of a skewed error are few for percentiles; at 300 it holds."),
    Case("root of a ratio", "depth_error depth_within", 300, depth),
    Case("mean IoU", "segmentation_miou", 300, one_by_one(iou, float(OVERLAP.mean())), 0.25),
    Case("expected calibration error", "linear_calibration_error", 1000,
         one_by_one(jackknifed(calibration_error, confident),
                    mean_of(lambda parts: calibration_error(*parts), confident)), 0.25),
    Case("mean average precision", "mean_average_precision", 300,
         one_by_one(jackknifed(multilabel.mean_average_precision, scored),
                    lambda rng, sets, n: multilabel.mean_average_precision(*scored(rng, LARGE))), 0.25),
    Case("RankMe at n", "rankme", 300,
         one_by_one(spectrum_interval("rankme"), mean_of(label_free.rankme, features)), 0.25),
    Case("alpha-ReQ at n", "alpha_req", 300,
         one_by_one(spectrum_interval("alpha_req"), mean_of(label_free.alpha_req, features)), 0.25,
         why="The jackknife is too wide: leaving out images bends the tail of the spectrum, which the fit reads."),
    Case("LiDAR at n", "lidar", 100,
         one_by_one(lambda rng, n: label_free.jackknife_lidar(views(rng, n), blocked(rng, n))[1],
                    mean_of(label_free.lidar, views)), 0.25),
    Case("RankMe of subsets of 128", "rankme_at_n", 300,
         one_by_one(subset_interval(label_free.rankme, features, 128),
                    mean_of(label_free.rankme, features, 128)), 0.25),
    Case("alpha-ReQ of subsets of 128", "alpha_req_at_n", 300,
         one_by_one(subset_interval(label_free.alpha_req, features, 128),
                    mean_of(label_free.alpha_req, features, 128)), 0.25,
         why="As above, the more the nearer the subset's images come to the dims."),
    Case("LiDAR of subsets of 40 x 4", "lidar_at_n", 100,
         one_by_one(subset_interval(label_free.lidar, views, 40), mean_of(label_free.lidar, views, 40)), 0.25,
         why="The jackknife is a little too wide where images are few."),
    Case("linear CKA at n", "cka", 300, one_by_one(cka_interval, mean_of(cka, two)), 0.25),
    Case("debiased CKA", "response_cka", 128, one_by_one(debiased_interval, debiased_truth), 0.25),
    Case("mean correlation coefficient", "mcc", 1000, matched(identifiability.mcc), 0.25),
    Case("SAP score", "sap", 1000, matched(identifiability.sap), 0.25),
    Case("silhouette", "silhouette", 200, one_by_one(silhouette_interval, silhouette_truth), 0.1),
    Case("share of a level", "level_share", 300, spectrum(2), 0.25),
    Case("mean height of the spectrum", "representation_level representation_level_pixels", 300, spectrum(None), 0.25),
    *(Case(f"ladder level, {scaling}", "ladder_level ladder_share", 300, ladder_level(scaling), 0.25)
      for scaling in ("raw", "standardised", "whitened")),
    Case("gain of a level", "recovery_gain", 1000, profile("gain", GAIN), 0.25),
    Case("amount of gain", "gain_amount", 1000, profile("amount", 3 * GAIN), 0.25),
    Case("height of gain", "gain_height", 1000, profile("height", 2.0), 0.25),
    Case("limit of recovery", "level_recovery_limit", 1000,
         one_by_one(limit_interval, 0.5 - 0.5 * 0.1 / (1 - 2**0.5)), 0.25),
    Case("recovery, up to its limit", "level_recovery", 1000, one_by_one(reaching_interval, 0.5), 0.25,
         why="The upper end reaches to the limit on purpose: it misses on one side alone."),
    Case("Monte Carlo mean over masks", "expected_level_share expected_mean_height expected_binding_level", 200,
         one_by_one(masks, masks_truth), 0.1),
)  # fmt: skip
