"""The permutohedral lattice (Adams, Baek, Davis 2010): Gaussian filters over many dimensions, in plain torch.

Features are coordinates divided by the bandwidths; a filtered value is about `sum_j exp(-|f_i - f_j|^2 / 2) v_j`, over
all pixels j of the same image, at a cost linear in their number. Each pixel lies in a simplex of d + 1 vertices; values
are spread onto those (splat), blurred with (1/2, 1, 1/2) along each of d + 1 directions, and read back (slice).

Each of the three is a sum of weighted rows, torch's `embedding_bag`: several times as fast as gather or `index_add_`,
with no weighted copy of the values, and without atomic additions on a GPU, so every run gives the same.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....pipelines.errors import InputError

FAR = 2.0**40  # up to here float64 tells in which simplex a point lies


class Lattice:
    """The lattices of a batch of feature maps, one for each image; they filter any values at the same pixels.

    features: [B, d, H, W], any float type, divided by the bandwidths; they get no gradient. The geometry is computed in
    float64. Values are filtered in float32 (float64 values in float64), also under autocast; they get gradients.

    Raises InputError for features that are not finite, or too far apart to number the lattice's points with 63 bits.
    """

    @torch.no_grad()
    def __init__(self, features: Tensor) -> None:
        batch, _, *self._sizes = features.shape
        elevated = _elevate(features.double().movedim(1, 0).flatten(1))
        strides = _strides(elevated, batch)
        origin, rank, weights = _simplices(elevated)
        image = torch.arange(batch, device=features.device).repeat_interleave(math.prod(self._sizes))
        keys = _keys(origin, rank, strides) + strides[0] * image

        ordered, order = keys.T.flatten().sort(stable=True)
        nodes, node, counts = ordered.unique_consecutive(return_inverse=True, return_counts=True)
        self._weights = weights.T.contiguous()  # [N, d + 1]
        self._node = torch.empty_like(order).scatter_(0, order, node).int().view_as(self._weights)
        self._order = order.int()  # [N (d + 1)]: pixel * (d + 1) + vertex, node by node
        # M nodes and an empty one, the neighbour of all that lack one.
        self._starts = F.pad(counts.cumsum(0), (1, 0)).int()  # [M + 1]
        self._lines = _lines(nodes, strides)  # [d + 1, M + 1, 3]
        self._mass = self.filter(features.new_ones(batch, 1, *self._sizes, dtype=torch.float64))

    def filter(self, values: Tensor) -> Tensor:
        """[B, C, H, W] -> sums over each image, the same shape. Of the Gaussian's mass only 0.4 to 0.9 arrives."""
        if values.dtype != torch.float64:
            values = values.float()
        return _Filter.apply(values, self, False)

    def mean(self, values: Tensor) -> Tensor:
        """[B, C, H, W] -> weighted means, the same shape: `filter(values) / filter(1)`."""
        filtered = self.filter(values)
        return filtered / self._mass.to(filtered.dtype)

    def _run(self, values: Tensor, reverse: bool) -> Tensor:
        """[B, C, H, W] -> the same shape, with the directions of the blur in their order or reversed."""
        weights = self._weights.to(values.dtype)
        pixels, vertices = weights.shape
        rows = values.movedim(1, -1).reshape(pixels, values.shape[1]).contiguous()
        table = _sums(rows, self._order // vertices, weights.flatten()[self._order], self._starts)
        blur = rows.new_full((len(table), 3), 0.5)
        blur[:, 0] = 1
        for line in self._lines.flip(0) if reverse else self._lines:
            table = _sums(table, line, blur)
        rows = _sums(table, self._node, weights / (1 + 2.0 ** (1 - vertices)))
        return rows.view(len(values), *self._sizes, values.shape[1]).movedim(-1, 1)


class _Filter(torch.autograd.Function):
    """The blurs do not commute where nodes are missing, so the transposed filter has their order reversed."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, lattice: Lattice, reverse: bool) -> Tensor:
        ctx.lattice, ctx.reverse = lattice, reverse
        return lattice._run(values, reverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Filter.apply(gradients[0], ctx.lattice, not ctx.reverse), None, None


def _sums(rows: Tensor, numbers: Tensor, weights: Tensor, starts: Tensor | None = None) -> Tensor:
    """Weighted sums of the rows [n, C] with these numbers: [m, k] gives m sums of k; [t] one sum from each start on."""
    return F.embedding_bag(numbers, rows, starts, mode="sum", per_sample_weights=weights)


def _elevate(points: Tensor) -> Tensor:
    """Points [d, N] -> [d + 1, N], on the plane where coordinates sum to 0; the lattice has steps of d + 1 there."""
    d = len(points)
    axis = torch.arange(1, d + 1, dtype=points.dtype, device=points.device)[:, None]
    scaled = points * (math.sqrt(2 / 3) * (d + 1)) / (axis * (axis + 1)).sqrt()
    # Not cumsum, which for floats on a GPU is not the same on every run.
    tails = torch.stack([scaled[first:].sum(0) for first in range(d + 1)])
    return tails - F.pad(axis * scaled, (0, 0, 1, 0))


def _strides(elevated: Tensor, batch: int) -> list[int]:
    """How much a packed key grows with the image's number, and with each coordinate but the last: d + 1 numbers.

    The last coordinate follows from the others. Vertices lie within 2 d of their point, neighbours another d away.
    """
    d = len(elevated) - 1
    reach = elevated[:d].abs().amax(1).tolist() if elevated.numel() else [0.0] * d
    strides = [1]
    for extent in reversed(reach):
        if not extent < FAR:
            break
        strides.insert(0, strides[0] * (2 * math.ceil(extent) + 6 * d + 1))
    if len(strides) <= d or batch * strides[0] >= 2**63:
        raise InputError(
            "features of a lattice must be finite, and so close that 63 bits can number its points; look for NaN in "
            f"the images or give larger bandwidths (coordinates reach {max(reach):.3g}, {batch} images)"
        )
    return strides


def _simplices(elevated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The simplex around each point: its vertex of remainder 0, int64; the ranks of the coordinates' offsets from that,
    largest first; the barycentric weights of the vertices of remainder 0 to d. Each [d + 1, N].
    """
    d = len(elevated) - 1
    origin = (d + 1) * (elevated / (d + 1)).round().long()
    rank = (elevated - origin).argsort(dim=0, descending=True, stable=True).argsort(dim=0)
    rank += origin.sum(0) // (d + 1)  # rounding has left the plane: the coordinates that it moved most go back
    wrap = (d + 1) * ((rank < 0).long() - (rank > d).long())
    rank, origin = rank + wrap, origin + wrap

    offset = (elevated - origin) / (d + 1)
    rising = torch.empty_like(offset).scatter_(0, d - rank, offset)
    weights = rising - rising.roll(1, 0)
    weights[0] += 1
    return origin, rank, weights


def _keys(origin: Tensor, rank: Tensor, strides: list[int]) -> Tensor:
    """Packed coordinates of the vertices of remainder 0 to d, [d + 1, N], of image 0.

    Vertex r is the origin plus r in all coordinates, minus d + 1 in the r coordinates of the smallest offsets.
    """
    d = len(origin) - 1
    step = torch.tensor([*strides[1:], 0], device=origin.device)[:, None]
    remainder = torch.arange(d + 1, device=origin.device)[:, None]
    rising = torch.empty_like(rank).scatter_(0, d - rank, step.expand_as(rank))
    return (step * origin).sum(0) + step.sum() * remainder - (d + 1) * (rising.cumsum(0) - rising)


def _lines(nodes: Tensor, strides: list[int]) -> Tensor:
    """int32 [d + 1, M + 1, 3]: in each direction the number of a node, of the next one and of the one before.

    Where a node has no neighbour, its number is M, that of an empty node. A step in direction j takes 1 from all
    coordinates and gives d + 1 to coordinate j.
    """
    count = len(nodes)
    here = torch.arange(count + 1, device=nodes.device)
    lines = here.new_full((len(strides), count + 1, 3), count)
    for line, stride in zip(lines, [*strides[1:], 0], strict=True):
        wanted = nodes + len(strides) * stride - sum(strides[1:])
        after = torch.searchsorted(nodes, wanted).clamp_(max=count - 1)
        after = torch.where(nodes[after] == wanted, after, count)
        line[:, 0] = here
        line[:count, 1] = after
        line[after, 2] = here[:count]
        line[count, 2] = count
    return lines.int()
