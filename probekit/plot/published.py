"""Figures published by the paper, as a reference beside what was measured here. Nothing in this file was measured by
probekit.

Kong, Ma, Chen, Xing, Chi, Morency and Zhang, "Understanding Masked Autoencoders via Hierarchical Latent Variable
Models", CVPR 2023 (arXiv 2306.04898), Tables 1 to 3: ViT-B pretrained on ImageNet-1K.
"""

from __future__ import annotations

from dataclasses import dataclass

CITATION = "Kong et al., CVPR 2023 (arXiv 2306.04898)"
SETUP = "ViT-B, pretrained on ImageNet-1K"


@dataclass(frozen=True)
class Published:
    """A value of the paper. `patch` is the mask unit in pixels of 224 px images, `vit_patch` the ViT's."""

    quantity: str
    test: str
    ratio: float
    patch: int
    vit_patch: int
    value: float


TESTS = ("ImageNet-1K", "ImageNet-v2", "ObjectNet", "ImageNet-R", "ImageNet-A", "ImageNet-Sketch")
TABLE_1 = {
    (0.10, 16, 16): (47.45, 34.72, 9.42, 14.63, 2.00, 7.25),
    (0.25, 16, 16): (53.58, 40.34, 11.54, 18.68, 2.49, 10.27),
    (0.50, 16, 16): (60.07, 46.71, 13.94, 22.44, 2.89, 12.58),
    (0.75, 16, 16): (67.41, 54.23, 18.24, 25.20, 3.76, 15.51),
    (0.90, 16, 16): (62.97, 49.52, 15.87, 19.11, 2.76, 10.46),
    (0.75, 8, 8): (62.57, 49.17, 13.44, 19.42, 3.73, 10.73),
    (0.75, 16, 8): (68.96, 55.94, 13.73, 24.23, 6.29, 18.81),
    (0.75, 32, 8): (73.31, 61.35, 19.03, 27.84, 12.69, 28.30),
}
"""(ratio, patch size, ViT patch) -> accuracy in % on `TESTS`. (The paper's text says that linear accuracy falls from
patch size 16 to 32; its table says that it rises. This is the table.)"""

TABLE_2 = {
    (0.10, 16, 16): 0.1352,
    (0.25, 16, 16): 0.2545,
    (0.50, 16, 16): 0.2458,
    (0.75, 16, 16): 0.2563,
    (0.90, 16, 16): 0.2014,
}
"""(ratio, patch size, ViT patch) -> shape bias."""

AVERAGE_PRECISIONS = {"box_ap": "Box AP", "mask_ap": "Mask AP"}
TABLE_3 = {
    (0.10, 16, 16): (30.47, 28.24),
    (0.25, 16, 16): (32.38, 29.95),
    (0.50, 16, 16): (34.87, 32.11),
    (0.75, 16, 16): (39.72, 36.35),
    (0.90, 16, 16): (37.17, 34.35),
}
"""(ratio, patch size, ViT patch) -> box and mask AP in % on COCO, of a fine-tuned Mask R-CNN."""


PROBING = "Efficient Probing (ICLR 2026) and MAE-CT, for MAE pretrained on ImageNet-1K"
PROBING_TABLE = {
    "MAE ViT-S/16": (18.0, 47.1, 64.6),
    "MAE ViT-B/16": (35.6, 67.8, 75.5),
    "MAE ViT-L/16": (48.1, 76.0, 79.5),
}
"""Model -> accuracy in % on ImageNet-1K by the columns of `PROBED`."""

PROBED = {"knn_accuracy": "k-NN", "linear_accuracy": "Linear", "attentive_accuracy": "Attentive (EP)"}
"""Quantity -> its column in `PROBING_TABLE`."""


def series(quantity: str) -> list[Published]:
    """The published values of a quantity, fractions; empty for one that the paper has not."""
    if quantity == "shape_bias":
        return [Published(quantity, "cue conflict", *setting, value) for setting, value in TABLE_2.items()]
    if quantity in AVERAGE_PRECISIONS:
        column = list(AVERAGE_PRECISIONS).index(quantity)
        return [Published(quantity, "COCO", *setting, row[column] / 100) for setting, row in TABLE_3.items()]
    tests = {"linear_accuracy": TESTS[:1], "robust_accuracy": TESTS[1:]}.get(quantity, ())
    return [
        Published(quantity, test, *setting, row[TESTS.index(test)] / 100)
        for test in tests
        for setting, row in TABLE_1.items()
    ]
