"""Masks: the count rule, the units, the three strategies, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probekit import masking
from probekit.errors import MaskError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(2, 400), st.integers(1, 99))
def test_the_count_follows_exact_arithmetic(units: int, percent: int) -> None:
    exact = units - math.floor(units * (1 - Fraction(percent, 100)))
    assert masking.hidden_units(units, percent / 100) == min(max(exact, 1), units - 1)


@pytest.mark.parametrize(
    ("units", "ratio", "count"), [(196, 0.75, 147), (4, 0.9, 3), (4, 0.1, 1), (10, 0.7, 7), (49, 0.75, 37)]
)
def test_known_counts(units: int, ratio: float, count: int) -> None:
    assert masking.hidden_units(units, ratio) == count
    assert masking.real_ratio(units, ratio) == count / units


@settings(max_examples=60, deadline=None)
@given(
    strategy=st.sampled_from(sorted(masking.STRATEGIES)),
    rows=st.integers(1, 7),
    columns=st.integers(2, 7),
    side=st.integers(1, 3),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
def test_every_row_hides_the_same_whole_units(
    strategy: str, rows: int, columns: int, side: int, ratio: float, seed: int
) -> None:
    grid = rows * side, columns * side
    hidden, real = masking.sample_hidden(
        5, grid, mask_ratio=ratio, patch_size=4 * side, vit_patch_size=4, strategy=strategy, generator=seeded(seed)
    )
    assert hidden.dtype == torch.bool
    assert hidden.shape == (5, grid[0] * grid[1])
    count = masking.hidden_units(rows * columns, ratio)
    assert real == count / (rows * columns)
    assert hidden.sum(1).tolist() == [count * side * side] * 5
    blocks = hidden.view(5, rows, side, columns, side)
    assert torch.equal(blocks.any(4).any(2), blocks.all(4).all(2))


@pytest.mark.parametrize("strategy", sorted(masking.STRATEGIES))
def test_masks_depend_on_the_generator_only(strategy: str) -> None:
    def draw(generator: torch.Generator) -> torch.Tensor:
        return masking.sample_hidden(
            8, (8, 8), mask_ratio=0.6, patch_size=4, vit_patch_size=4, strategy=strategy, generator=generator
        )[0]

    torch.manual_seed(1)
    first = draw(seeded(3))
    torch.manual_seed(2)
    assert torch.equal(first, draw(seeded(3)))
    assert not torch.equal(first, draw(seeded(4)))
    generator = seeded(3)
    assert not torch.equal(draw(generator), draw(generator))
    assert len({tuple(row.tolist()) for row in first}) > 1


@pytest.mark.parametrize("strategy", sorted(masking.STRATEGIES))
def test_no_masks_are_no_rows(strategy: str) -> None:
    hidden, ratio = masking.sample_hidden(
        0, (4, 4), mask_ratio=0.5, patch_size=1, vit_patch_size=1, strategy=strategy, generator=seeded()
    )
    assert (hidden.shape, ratio) == ((0, 16), 0.5)


def test_every_subset_is_as_likely() -> None:
    hidden, _ = masking.sample_hidden(
        20_000, (2, 3), mask_ratio=0.5, patch_size=4, vit_patch_size=4, generator=seeded(1)
    )
    counts = torch.bincount((hidden * 2 ** torch.arange(6)).sum(1), minlength=64)
    assert (counts > 0).sum() == math.comb(6, 3)
    found = counts[counts > 0].double()
    assert ((found - 1000).square() / 1000).sum() < 43.8  # chi-square, 19 degrees of freedom: p = 0.001


@pytest.mark.parametrize("strategy", ["random", "structure"])
def test_every_unit_is_as_likely(strategy: str) -> None:
    hidden, ratio = masking.sample_hidden(
        4000, (4, 4), mask_ratio=0.4, patch_size=1, vit_patch_size=1, strategy=strategy, generator=seeded()
    )
    error = math.sqrt(ratio * (1 - ratio) / 4000)
    assert (hidden.float().mean(0) - ratio).abs().max() < 5 * error


@settings(max_examples=40, deadline=None)
@given(ratio=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_structure_masks_leave_one_path_of_mixed_subtrees(ratio: float, seed: int) -> None:
    hidden, _ = masking.sample_hidden(
        4, (8, 8), mask_ratio=ratio, patch_size=4, vit_patch_size=4, strategy="structure", generator=seeded(seed)
    )
    for side in (2, 4, 8):
        blocks = hidden.view(4, 8 // side, side, 8 // side, side).float().mean((2, 4))
        assert (((blocks > 0) & (blocks < 1)).sum((1, 2)) <= 1).all()


def test_structure_masks_are_whole_quadrants_where_they_can_be() -> None:
    hidden, _ = masking.sample_hidden(
        20, (8, 8), mask_ratio=0.75, patch_size=4, vit_patch_size=4, strategy="structure", generator=seeded()
    )
    quadrants = hidden.view(20, 2, 4, 2, 4).float().mean((2, 4))
    assert set(quadrants.unique().tolist()) == {0.0, 1.0}
    assert (quadrants.sum((1, 2)) == 3).all()


def test_blocks_are_more_compact_than_random_masks() -> None:
    def edge(strategy: str) -> float:
        hidden, _ = masking.sample_hidden(
            200, (14, 14), mask_ratio=0.4, patch_size=16, vit_patch_size=16, strategy=strategy, generator=seeded()
        )
        return masking.boundary(hidden, (14, 14)).float().mean().item()

    assert edge("block") < 0.6 * edge("random")


def test_blocks_favour_no_side() -> None:
    hidden, _ = masking.sample_hidden(
        4000, (4, 4), mask_ratio=0.4, patch_size=1, vit_patch_size=1, strategy="block", generator=seeded()
    )
    shares = hidden.float().mean(0).view(4, 4)
    for mirrored in (shares.flip(0), shares.flip(1)):
        assert (shares - mirrored).abs().max() < 5 * math.sqrt(2 * 0.25 / 4000)


def test_expand_repeats_cells() -> None:
    hidden = torch.tensor([[True, False, False, True]])
    wide = masking.expand(hidden, (2, 2), (4, 6))
    by_hand = torch.kron(hidden.view(2, 2).int(), torch.ones(2, 3, dtype=torch.int)).bool()
    assert torch.equal(wide.view(4, 6), by_hand)


def test_checkpoints_of_different_patches_see_the_same_pixels() -> None:
    size = (48, 96)
    unit = masking.common_unit([4, 6, 8], size)
    assert unit == 24
    hidden, grid, ratio = masking.sample_hidden_pixels(3, size, mask_ratio=0.5, unit=unit, generator=seeded())
    pixels = masking.expand(hidden, grid, size)
    assert ratio == 0.5
    for patch in (4, 6, 8):
        own = size[0] // patch, size[1] // patch
        assert torch.equal(masking.expand(masking.expand(hidden, grid, own), own, size), pixels)


def test_common_unit_honours_the_lower_bound() -> None:
    assert masking.common_unit([8, 16], (224, 224)) == 16
    assert masking.common_unit([8, 16], (224, 224), at_least=20) == 32


def test_boundary_touches_visible_along_an_edge() -> None:
    hidden = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    assert masking.boundary(hidden, (3, 3)).int().tolist() == [[0, 1, 0, 1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 75, float("nan")])
def test_impossible_ratios_are_refused(ratio: float) -> None:
    with pytest.raises(MaskError, match="between 0 and 1"):
        masking.hidden_units(16, ratio)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_size": 12}, "no whole multiple of vit_patch_size=8.*Units that fit this grid: 8, 16 pixels"),
        ({"patch_size": 4}, "no whole multiple"),
        ({"patch_size": 24}, "does not tile a grid of 4 x 4.*Units that fit: 8, 16 pixels"),
        ({"patch_size": 32}, "cannot be split"),
        ({"strategy": "blok"}, "Did you mean 'block'"),
        ({"n": -1}, "n=-1"),
        ({"grid": (0, 4)}, "at least one row"),
        ({"grid": 4}, "expected two numbers"),
        ({"grid": (4.0, 4)}, "expected a whole number"),
        ({"vit_patch_size": 0}, "1 or more"),
        ({"patch_size": "8"}, "patch_size='8'; expected a whole number"),
        ({"mask_ratio": "0.5"}, "mask_ratio='0.5': expected a number"),
        ({"n": 2.5}, "n=2.5; expected a whole number"),
        ({"strategy": None}, "Known: block, random, structure"),
        ({"generator": None}, "generator=None: expected a torch.Generator on the CPU"),
    ],
)
def test_refusals_name_the_way_out(arguments: dict[str, object], message: str) -> None:
    settings = {"n": 1, "grid": (4, 4), "mask_ratio": 0.5, "patch_size": 8, "vit_patch_size": 8} | {
        "generator": seeded()
    }
    with pytest.raises(MaskError, match=message):
        masking.sample_hidden(**(settings | arguments))  # type: ignore[arg-type]


def test_expand_and_common_unit_refuse_what_does_not_fit() -> None:
    with pytest.raises(MaskError, match="whole multiples"):
        masking.expand(torch.zeros(1, 4, dtype=torch.bool), (2, 2), (3, 4))
    with pytest.raises(MaskError, match=r"expected \(n, 4\)"):
        masking.expand(torch.zeros(1, 5, dtype=torch.bool), (2, 2), (4, 4))
    with pytest.raises(MaskError, match="multiple of 48"):
        masking.common_unit([3, 16], (224, 224))
    with pytest.raises(MaskError, match="does not tile an image"):
        masking.sample_hidden_pixels(1, (32, 32), mask_ratio=0.5, unit=12, generator=seeded())
