"""The sections of the page, each built only where there is something to show.

Quantities are grouped by what they tell (`GROUPS`); a quantity of a probe that this module has never heard of lands
in "Further quantities" with the same charts, so a new probe is reported without a change here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from probekit.plot import beside_published, detections, last_layer, mask_curves, pictures
from probekit.plot.curves import layer_figure
from probekit.plot.dense_pictures import dense
from probekit.plot.differences import Differences, forest
from probekit.plot.figure import Figure
from probekit.plot.headline import Headline
from probekit.plot.pictures import Strip
from probekit.plot.recovery import profile_figure
from probekit.plot.rows import Results
from probekit.plot.similarities import similarity_figure
from probekit.plot.stacks import share_figure
from probekit.report import card
from probekit.report.tables import Table, TableCell, not_applicable_table, published_tables, summary_table


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it. `short` names it in the navigation."""

    key: str
    title: str
    short: str
    lead: str = ""
    figures: list[Figure] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.figures or self.strips or self.tables)


GROUPS: list[tuple[str, str, str, str, tuple[str, ...]]] = [
    ("levels", "Levels", "Levels", "What features know of each level, what "
                                   "they are made of, and what they keep apart.",
     ("gain_amount", "gain_height", "representation_level", "ladder_level", "latent_r2", "level_share", "ladder_share",
      "recovery_gain", "level_recovery", "level_recovery_limit", "ladder_level_baseline",
      "representation_level_baseline")),
    ("classes", "Classification, shape and shift", "Classes", "Frozen features, a fitted head, images that "
                                                              "neither fit nor selection has seen.",
     ("linear_accuracy", "knn_accuracy", "linear_accuracy_top5", "robust_accuracy", "shape_bias")),
    ("attentive", "Attentive probe", "Attentive", "A head on frozen patch tokens that learns where to look, and where "
                                                  "it looks.",
     ("attentive_accuracy",)),
    ("attention", "Attention", "Attention", "How far, how selectively, and where patches attend.",
     ("attention_distance", "attention_entropy", "attention_nmi", "object_focus", "object_focus_gradients",
      "attention_peak")),
    ("pixels", "Reconstruction and low-level properties", "Pixels", "SSIM and FSIM stand for structure, PSNR "
                                                                    "and squared error for pixels.",
     ("ssim", "fsim", "psnr", "mse", "masked_ssim", "masked_fsim", "masked_psnr", "masked_mse", "low_level_r2")),
    ("dense", "Every pixel", "Dense", "Classes, depth and matches of single pixels, read from frozen patch tokens.",
     ("segmentation_miou", "depth_error", "depth_within", "correspondence_accuracy")),
    ("spectrum", "Shape of the feature space", "Spectrum", "Measures that fit nothing.",
     ("rankme", "alpha_req", "lidar", "silhouette", "fourier_amplitude", "cka", "rankme_at_n", "alpha_req_at_n",
      "lidar_at_n")),
    ("detection", "Detection and instance segmentation", "Detection", "A detector fine-tuned on each encoder: its "
                                                                      "numbers do not stand beside frozen ones.",
     ("box_ap", "mask_ap", "box_ap50", "mask_ap50")),
]  # fmt: skip
UNFIT = ("level_share", "ladder_share", "recovery_gain", "level_recovery", "level_recovery_limit", "low_level_r2")
"""Quantities that make no sense as one curve over layers: they are split by level or property elsewhere."""
TABLE_ONLY = (
    "linear_accuracy_top5", "level_share", "ladder_share", "recovery_gain", "level_recovery_limit",
    "ladder_level_baseline", "representation_level_baseline", "similarity", "response_hidden", "rankme_at_n",
    "alpha_req_at_n", "lidar_at_n", *mask_curves.NAMES,
)  # fmt: skip
"""Quantities whose course another chart shows: their numbers are in the table."""
PICTURES = {
    "pixels": pictures.reconstructions,
    "attentive": pictures.attentive,
    "attention": pictures.attention,
    "dense": dense,
    "detection": detections.strips,
}
"""Group -> what makes its pictures."""
BY_CHOICE = ("classes",)
"""Groups whose quantities are shown against the training choice at the last layer too."""


def build(results: Results, headline: Headline | None, differences: Differences) -> list[Section]:
    """All sections that have something to show, in reading order."""
    grouped = {name for *_, names in GROUPS for name in names}
    rest = tuple(name for name in results.own_names if name not in grouped)
    further = ("further", "Further quantities", "Further", "", rest)
    theory = Section(
        "theory",
        "Theory beside measurement",
        "Theory",
        "What the mask distribution asks for, from the graph alone, beside what the checkpoints hold.",
        last_layer.theory(results, headline),
    )
    paired = forest(differences)
    compared = Section(
        "differences",
        "Paired differences",
        "Differences",
        "The same images, one checkpoint minus another.",
        [paired] if paired else [],
    )
    levels, *others = [group_section(results, *group) for group in [*GROUPS, further]]
    first = headline.data if headline is not None and headline.name == "gain_amount" else None  # stands above
    levels.figures[:0] = [one for data in results.data for one in composition(results, data, profile=data != first)]
    alike = [figure for data in results.data if (figure := similarity_figure(results, data))]
    about = Section("card", "The checkpoint", "Card", "What it is, and its numbers beside what is had without it.",
                    tables=card.tables(results))  # fmt: skip
    summary = summary_table(results)
    shown = [
        about, levels, theory, compared, *others, mask_response(results),
        Section("similarity", "Similarity of checkpoints", "Similarity", "", alike),
        Section("embeddings", "Classes in feature space", "t-SNE", "", last_layer.embeddings(results)),
        Section("published", "Published figures", "Published",
                "A reference from the literature, where the same quantity was measured.",
                beside_published.figures(results), tables=published_tables(results)),
        Section("summary", "At a glance", "Summary", summary_lead(summary), tables=summary),
    ]  # fmt: skip
    shown = [section for section in shown if not section.empty]
    if headline is not None:
        shown.append(
            Section(
                "numbers",
                "All numbers",
                "Numbers",
                "Every number in the file, with its interval or the reason why it has none. Click a heading to sort.",
            )
        )
    missing = not_applicable_table(results)
    if missing:
        shown.append(
            Section(
                "not-applicable",
                "Not applicable",
                "Missing",
                "What could not be measured, and why.",
                tables=[missing],
            )
        )
    return [
        *shown,
        Section("provenance", "Where the numbers come from", "Sources", "What it takes to make this report again."),
    ]


def summary_lead(tables: list[Table]) -> str:
    """What a line of the summary holds."""
    cells = [cell for table in tables for row in table.rows for cell in row]
    bounds = any(isinstance(cell, TableCell) and cell.interval for cell in cells)
    return f"One line per checkpoint{', each number with its 95 % interval' if bounds else ''}."


def mask_response(results: Results) -> Section:
    """What evaluation masks do to features and pixels."""
    found = [mask_curves.response_figure(results, name, data) for name in mask_curves.NAMES for data in results.data]
    return Section(
        "response",
        "What a mask at evaluation does",
        "Masks",
        "The same images with patches hidden: how far features move, what level is left, how well pixels are told.",
        [figure for figure in found if figure],
    )


def composition(results: Results, data: str, *, profile: bool) -> list[Figure]:
    """What features know of each level (the profile), and what they are made of, on one image set."""
    found = [
        profile_figure(results, data) if profile else None,
        share_figure(results, "ladder_share", "rung", data),
        share_figure(results, "level_share", "level", data),
    ]
    return [figure for figure in found if figure]


def by_choice(results: Results, data: str) -> str:
    """The title of a figure of single numbers, which only several checkpoints set against a training choice."""
    return f"By training choice, {data}" if len(results.settings) > 1 else f"At the last layer, {data}"


def group_section(results: Results, key: str, title: str, short: str, lead: str, names: tuple[str, ...]) -> Section:
    """Curves over layers for what has layers, then the last layer (or the only number) against the training choice."""
    present = [name for name in names if name in results.names and results.measured(name) and name not in TABLE_ONLY]
    over_layers = {
        name: figure
        for name in present
        if "layer" in results.dims(name) and name not in UNFIT and (figure := layer_figure(results, name))
    }
    figures = list(over_layers.values())
    flat = [name for name in present if name not in over_layers or key in BY_CHOICE or name == "latent_r2"]
    for data in results.data:
        figure = last_layer.choice_figure(results, flat, data, f"{key}-{data}", by_choice(results, data))
        figures += [figure] if figure else []
    strips = PICTURES.get(key)
    return Section(key, title, short, lead, figures, strips(results) if strips else [])
