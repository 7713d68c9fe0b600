"""torchvision's Mask R-CNN on a ViT: anchors, regions and canvas by the pyramid's own strides.

Three parts of torchvision's are replaced because they infer what is known here. Anchors take their stride from a
division that rounds down, and regions take a map's scale from the size of the first batch's images, rounded to a power
of two: both are wrong for patches such as 14 pixels, and the second for any image that does not fill its canvas. And
the canvas always has the same size, so that an image's numbers do not depend on its batch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import LayerNorm2d  # type: ignore[attr-defined]  # public, but not in its `__all__`
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # public, but not in its `__all__`
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    RPNHead,
    TwoMLPHead,
)
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, roi_align

from probekit.data.randomness import words
from probekit.detection.backbone import NAMES, Backbone
from probekit.detection.settings import DetectorSettings
from probekit.models import MaskedAutoencoder
from probekit.models.card import tensor_digest

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors."""

CELLS = 14
"""A region whose side is so many cells of the finest map, or more, is read from the next map, and so on: as a region
of 224 pixels is read from a map of stride 16 (Lin et al. 2017, eq. 1)."""

Objects = dict[str, Tensor]


class Anchors(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """Anchors that lie exactly `strides` pixels apart."""

    def __init__(self, strides: Sequence[float], scale: float) -> None:
        super().__init__(tuple((scale * stride,) for stride in strides), (RATIOS,) * len(strides))
        self.strides = tuple(strides)

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        exact = [[torch.full_like(one, stride, dtype=torch.float32) for one in pair]
                 for pair, stride in zip(strides, self.strides, strict=True)]  # fmt: skip
        found: list[Tensor] = super().grid_anchors(grid_sizes, exact)
        return found


class Regions(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision has no types
    """Regions of maps that are exactly `strides` pixels apart: (regions, channels, size, size).

    They are aligned with the cells' centres; torchvision's own detectors read them half a cell off.
    """

    def __init__(self, strides: Sequence[float], size: int) -> None:
        super().__init__(list(NAMES), size, sampling_ratio=2)
        self.strides = tuple(strides)

    def level(self, boxes: Tensor) -> Tensor:
        """Which map each box (n, 4) is read from: int64 (n,)."""
        sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=1e-6).sqrt()
        found = torch.floor(torch.log2(sides / (CELLS * self.strides[0])) + 1e-6).long()
        return found.clamp(0, len(self.strides) - 1)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """See torchvision's; the images' shapes are not needed."""
        every = torch.cat(boxes)
        image = torch.cat([one.new_full((len(one), 1), index) for index, one in enumerate(boxes)])
        numbered, levels = torch.cat([image, every], dim=1), self.level(every)
        first = x[self.featmap_names[0]]
        size = self.output_size
        out = first.new_zeros(len(every), first.shape[1], *size)
        for level, (name, stride) in enumerate(zip(self.featmap_names, self.strides, strict=True)):
            mine = torch.where(levels == level)[0]
            if not len(mine):
                continue
            found = roi_align(x[name], numbered[mine], size, 1 / stride, sampling_ratio=2, aligned=True)
            out = out.index_put((mine,), found.to(out.dtype))
        return out


class Canvas(nn.Module):
    """Images on a canvas of one size, normalised as the checkpoint says; in the place of torchvision's transform.

    Images come fitted already (`probekit.detection.examples`), uint8 or float in [0, 255]. Detections are left in
    pixels of the canvas, their masks in pixels of their boxes.
    """

    def __init__(self, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(
        self, images: list[Tensor], targets: list[Objects] | None = None
    ) -> tuple[ImageList, list[Objects] | None]:
        canvas = torch.zeros(len(images), images[0].shape[0], *self.size, device=images[0].device)
        for row, image in zip(canvas, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = (image / 255 - self.mean) / self.std
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        if targets is not None:
            targets = [target | {"masks": self._padded(target["masks"])} for target in targets]
        return ImageList(canvas, sizes), targets

    def _padded(self, masks: Tensor) -> Tensor:
        height, width = self.size
        return nn.functional.pad(masks, (0, width - masks.shape[2], 0, height - masks.shape[1]))

    def postprocess(self, result: list[Objects], shapes: Any, originals: Any) -> list[Objects]:
        return result


class Detector(MaskRCNN):  # type: ignore[misc]  # torchvision has no types
    """torchvision's Mask R-CNN, whose layers timm's optimizer groups know."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Names to layers: the embedding, each block, and the rest."""
        encoder = r"^backbone\.encoder\."
        stem = encoder + r"(?:cls_token|reg_token|pos_embed|patch_embed|norm_pre)"
        return {"stem": stem, "blocks": [(encoder + r"blocks\.(\d+)", None)]}

    def groups(self, settings: DetectorSettings) -> list[dict[str, Any]]:
        """Trained parameters, with decay for matrices alone and `lr_scale`, the factor of their layer's rate."""
        tokens = [f"backbone.encoder.{name}" for name in ("cls_token", "reg_token", "pos_embed")]
        found: list[dict[str, Any]] = param_groups_layer_decay(
            self, settings.weight_decay, no_weight_decay_list=tokens, layer_decay=settings.layer_decay
        )
        return found

    def encoder_digest(self) -> str:
        """sha256 of the encoder's weights that are not trained; empty where all are."""
        frozen = {name: one for name, one in self.backbone.encoder.named_parameters() if not one.requires_grad}
        return tensor_digest(frozen) if frozen else ""


def build(model: MaskedAutoencoder, settings: DetectorSettings, classes: int) -> Detector:
    """A detector with the model's encoder and fresh weights elsewhere, which the seed determines.

    Args:
        model: left as it is; the detector gets a copy of its encoder.
        settings: of the run.
        classes: of objects.
    """
    width = settings.pyramid_width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(words("detector", settings.seed)[0] >> 1)
        own = copy.deepcopy(model)
        own.decoder = None
        backbone = Backbone(own, settings)
        strides = backbone.pyramid.strides
        anchors = Anchors((*strides, 2 * strides[-1]), settings.anchor_scale)
        if settings.box_convolutions:
            convolutions = [width] * settings.box_convolutions
            box_head = FastRCNNConvFCHead((width, 7, 7), convolutions, [settings.head_width], norm_layer=LayerNorm2d)
        else:
            box_head = TwoMLPHead(width * 7 * 7, settings.head_width)
        detector = Detector(
            backbone,
            rpn_anchor_generator=anchors,
            rpn_head=RPNHead(width, len(RATIOS), conv_depth=2 if settings.box_convolutions else 1),
            rpn_pre_nms_top_n_train=2 * settings.proposals,
            rpn_post_nms_top_n_train=settings.proposals,
            rpn_pre_nms_top_n_test=settings.proposals,
            rpn_post_nms_top_n_test=settings.proposals,
            box_roi_pool=Regions(strides, 7),
            box_head=box_head,
            box_predictor=FastRCNNPredictor(settings.head_width, classes + 1),
            box_batch_size_per_image=settings.samples,
            mask_roi_pool=Regions(strides, 14),
            mask_head=MaskRCNNHeads(width, [width] * settings.mask_convolutions, 1, norm_layer=LayerNorm2d),
            mask_predictor=MaskRCNNPredictor(width, width, classes + 1),
        )
    detector.transform = Canvas(settings.image_size, model.pixels.mean, model.pixels.std)
    return detector
