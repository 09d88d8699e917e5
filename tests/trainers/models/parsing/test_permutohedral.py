"""The permutohedral lattice against a brute-force Gaussian in float64, on real photographs and on random points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdali.pipelines.errors import InputError
from sdali.trainers.models.parsing.permutohedral import Lattice


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of such small sums would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gaussian_mean(features: Tensor, values: Tensor) -> Tensor:
    """The definition, over all pairs of pixels, in float64."""
    points = features.double().flatten(2).mT
    kernel = (-(torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") ** 2) / 2).exp()
    means = kernel @ values.double().flatten(2).mT / kernel.sum(2, keepdim=True)
    return means.mT.view_as(values)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def positions(height: int, width: int, bandwidth: float) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x])[None].double() / bandwidth


def photograph(path: Path) -> Tensor:
    """RGB levels [1, 3, 60, 60], as at stride 8 of 480 x 480 pixels."""
    image = cv2.resize(np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)), (480, 480))
    levels = cv2.resize(image, (60, 60), interpolation=cv2.INTER_AREA).astype(np.float64)
    return torch.from_numpy(levels.transpose(2, 0, 1))[None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["camvid/val/0016E5_07959.jpg", "pets/images/Bengal/Bengal_191.jpg"])
def test_real_images(real_data: Path, name: str) -> None:
    """Relative L2 error of means of the colours, which were centred, for they would hide it: at most 0.03 over
    position, bandwidth 3, and 0.06 over position and colour, 80 px at stride 8 and 13 levels.
    """
    levels = photograph(real_data / name)
    values = (levels - levels.mean((2, 3), keepdim=True)) / 255
    near = positions(60, 60, 3)
    alike = torch.cat([positions(60, 60, 80 / 8), levels / 13], 1)
    errors = [relative_error(Lattice(f).mean(values.float()).double(), gaussian_mean(f, values)) for f in (near, alike)]
    assert errors[0] <= 0.03 and errors[1] <= 0.06, errors


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4, 5])
def test_any_number_of_dimensions(dimensions: int) -> None:
    """Over a dense cloud, non-negative values have means within 5 % of the Gaussian's, also where it is far from 0."""
    features = random(2, dimensions, 20, 30) + 100
    values = random(2, 4, 20, 30, seed=1).abs()
    assert relative_error(Lattice(features).mean(values), gaussian_mean(features, values)) < 0.05


def test_the_filter_has_the_gaussians_mass_but_for_what_is_cut_off() -> None:
    """Unnormalised sums of ones: 0.4 to 0.9 of the definition's over positions, less at no place than half of that."""
    features, ones = positions(40, 40, 3), torch.ones(1, 1, 40, 40, dtype=torch.float64)
    points = features.flatten(2).mT
    mass = (-(torch.cdist(points, points) ** 2) / 2).exp().sum(2).view_as(ones)
    share = Lattice(features).filter(ones) / mass
    assert 0.4 < share.mean() < 0.95 and share.min() > 0.2 and share.max() < 1.1


def test_gradients() -> None:
    """First and second derivatives equal finite differences, on points so sparse that most neighbours are missing."""
    lattice = Lattice(2 * random(2, 3, 4, 3))
    values = random(2, 2, 4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lattice.filter, values)
    assert torch.autograd.gradcheck(lattice.mean, values)
    assert torch.autograd.gradgradcheck(lattice.mean, values)


def test_backward_is_the_transpose() -> None:
    """<F a, b> = <a, F' b>, and F' is not F: the blurs along the directions do not commute."""
    lattice = Lattice(2 * random(1, 5, 8, 8))
    a, b = random(1, 3, 8, 8, seed=1).requires_grad_(), random(1, 3, 8, 8, seed=2)
    filtered = lattice.filter(a)
    (transposed,) = torch.autograd.grad(filtered, a, b)
    torch.testing.assert_close((filtered * b).sum(), (a * transposed).sum())
    assert relative_error(lattice.filter(b), transposed) > 1e-6


def test_a_batch_is_its_images_one_by_one() -> None:
    """Bit for bit, though the images' features lie at the same points of the lattice."""
    features, values = random(3, 3, 9, 7), random(3, 4, 9, 7, seed=1, dtype=torch.float32)
    features[2] = features[0]
    batch = Lattice(features).mean(values)
    for one, feature, value in zip(batch, features, values, strict=True):
        assert torch.equal(one, Lattice(feature[None]).mean(value[None])[0])


def test_constants_stay_constant() -> None:
    features = random(2, 5, 12, 12) * 3
    constant = torch.tensor([0.0, 1.0, -250.0])[None, :, None, None].expand(2, 3, 12, 12)
    torch.testing.assert_close(Lattice(features).mean(constant), constant)


@settings(max_examples=20)
@given(st.integers(0, 2**31 - 1), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.floats(0.01, 100))
def test_laws_on_random_points(seed: int, dimensions: int, height: int, width: int, scale: float) -> None:
    """Linear in the values; pixels permuted permute the result; means lie between the least and the greatest value."""
    features = scale * random(2, dimensions, height, width, seed=seed)
    a, b = random(2, 2, height, width, seed=seed + 1), random(2, 2, height, width, seed=seed + 2)
    lattice = Lattice(features)
    torch.testing.assert_close(lattice.filter(2 * a - 3 * b), 2 * lattice.filter(a) - 3 * lattice.filter(b))

    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))
    moved = Lattice(features.flatten(2)[..., order].view_as(features)).mean(a.flatten(2)[..., order].view_as(a))
    torch.testing.assert_close(moved.flatten(2), lattice.mean(a).flatten(2)[..., order])

    mean = lattice.mean(a)
    least, greatest = a.amin((2, 3), keepdim=True), a.amax((2, 3), keepdim=True)
    assert (mean >= least - 1e-9).all() and (mean <= greatest + 1e-9).all()


def test_far_apart_nothing_mixes() -> None:
    """Pixels many bandwidths from each other keep their values; equal ones share their mean."""
    values = random(1, 2, 4, 4)
    torch.testing.assert_close(Lattice(positions(4, 4, 0.05)).mean(values), values)
    together = Lattice(torch.full((1, 3, 4, 4), 7.0)).mean(values)
    torch.testing.assert_close(together, values.mean((2, 3), keepdim=True).expand_as(values))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_values(dtype: torch.dtype) -> None:
    """Under autocast, and for half values, the float32 result of those values; gradients come in the values' type."""
    lattice, values = Lattice(random(1, 5, 8, 8)), random(1, 3, 8, 8, seed=1).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        mean = Lattice(random(1, 5, 8, 8)).mean(values)
    assert mean.dtype == torch.float32 and torch.equal(mean, lattice.mean(values.float()))
    mean.sum().backward()
    assert values.grad is not None and values.grad.dtype == dtype


def test_memory_formats() -> None:
    """Channels last gives the same numbers."""
    lattice, values = Lattice(random(2, 3, 8, 8)), random(2, 3, 8, 8, seed=1)
    assert torch.equal(lattice.mean(values.contiguous(memory_format=torch.channels_last)), lattice.mean(values))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4)])
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    values = torch.zeros(shape, requires_grad=True)
    mean = Lattice(torch.zeros(shape)).mean(values)
    mean.sum().backward()
    assert mean.shape == shape and values.grad is not None and values.grad.shape == shape


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, 1e13])
@pytest.mark.parametrize("dimensions", [1, 5])
def test_features_that_cannot_be_numbered(value: float, dimensions: int) -> None:
    """One sentence, before anything is indexed; far but single points of the plane are fine."""
    features = torch.zeros(1, dimensions, 3, 3)
    features[0, 0, 1, 1] = value
    with pytest.raises(InputError, match=r"must be finite, and so close.*; look for NaN"):
        Lattice(features)


def test_the_number_of_images_counts() -> None:
    """Features that fit alone may not fit many times over, and never fail silently."""
    features = torch.zeros(1, 5, 1, 2)
    features[..., 1] = 700.0
    values = torch.tensor([[[[1.0, 2.0]]]])
    torch.testing.assert_close(Lattice(features).mean(values), values)
    with pytest.raises(InputError, match="20000 images"):
        Lattice(features.expand(20000, -1, -1, -1))


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """The CPU's result to rounding, and the same on every run."""
    features, values = random(2, 5, 30, 30), random(2, 8, 30, 30, seed=1, dtype=torch.float32)
    first, second = (Lattice(features.cuda()).mean(values.cuda()).cpu() for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, Lattice(features).mean(values))
