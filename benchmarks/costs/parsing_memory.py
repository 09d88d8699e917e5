"""What the Message Passing Network keeps for its gradient, against a CRF.

150 classes on the 60 x 60 score map of one 473 x 473 image, float32. Both filter with the same lattice. `kept` is what
they hold between forward and backward, parameters and the image left out; `peak` is how far the resident memory of a
process of its own rises over a forward and a backward pass.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...pipelines.io.terminal import print_result, print_table, run_command
from ...trainers.models.parsing.message_passing import MessagePassing, MessagePassingConfig
from ...trainers.models.parsing.permutohedral import Lattice
from ..throughput.process_tree import peak_resident, reset_peak, resident

CLASSES, SIZE, CELLS = 150, 473, 60
STD = (0.229, 0.224, 0.225)


class MeanField(nn.Module):
    """CRF as RNN (Zheng et al., ICCV 2015) in its plainest form: ten iterations of mean field over all classes.

    Scores [B, classes, h, w] and images [B, 3, H, W] -> scores. Each iteration: softmax, a filter over position and one
    over position and colour, their weights, a compatibility of classes, and the scores given at first.
    """

    def __init__(self, classes: int, iterations: int = 10) -> None:
        super().__init__()
        self.iterations = iterations
        self.smooth, self.alike, self.compatible = (nn.Conv2d(classes, classes, 1, bias=False) for _ in range(3))
        self.features = MessagePassing(classes, MessagePassingConfig(), STD).features

    def forward(self, scores: Tensor, images: Tensor) -> Tensor:
        features = self.features(images, scores.shape[2], scores.shape[3])
        alike, near = Lattice(features), Lattice(features[:, :2] * (80 / (3 * 8)))  # 3 cells
        current = scores
        for _ in range(self.iterations):
            beliefs = current.softmax(1)
            messages = self.smooth(near.mean(beliefs)) + self.alike(alike.mean(beliefs))
            current = scores - self.compatible(messages)
        return current


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"message passing": MessagePassing(CLASSES, MessagePassingConfig(), STD), "mean field": MeanField(CLASSES)}


def kept_bytes(network: nn.Module, scores: Tensor, images: Tensor) -> int:
    """Bytes of all tensors that autograd and the filters hold after a forward pass, each storage once.

    Parameters, buffers and images are left out.
    """
    held: dict[int, int] = {}

    def hold(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        result = network(scores, images)
    for lattice in _lattices(result):
        for tensor in vars(lattice).values():
            if isinstance(tensor, Tensor):
                hold(tensor)
    given = (images, *network.parameters(), *network.buffers())
    return sum(held.values()) - sum(held.get(tensor.untyped_storage().data_ptr(), 0) for tensor in given)


def peak_bytes(name: str) -> int:
    """How far this process' resident memory rises over a forward and a backward pass."""
    torch.set_num_threads(1)
    network, (scores, images) = networks()[name], inputs(CLASSES, CELLS, SIZE)
    network(scores[..., :8, :8], images[..., :64, :64]).sum().backward()  # what libraries allocate once
    reset_peak()
    before = resident()
    network(scores, images).sum().backward()
    return peak_resident() - before


def inputs(classes: int, cells: int, size: int) -> tuple[Tensor, Tensor]:
    """Random scores, and an image of a smooth gradient with noise, normalised."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(-1.5, 1.5, size)
    image = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), ramp.flip(0).expand(size, size)])
    image = image + 0.1 * torch.randn(3, size, size, generator=generator)
    return torch.randn(1, classes, cells, cells, generator=generator).requires_grad_(), image[None]


def _lattices(result: Tensor) -> Iterator[Any]:
    """The lattices that the graph behind a tensor holds."""
    nodes, seen = [result.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "lattice"):
            yield node.lattice  # type: ignore[attr-defined]
        nodes += [behind for behind, _ in node.next_functions]


def main() -> int:
    figures = {}
    for name, network in networks().items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peak = pool.apply(peak_bytes, (name,))
        kept = kept_bytes(network, *inputs(CLASSES, CELLS, SIZE))
        figures[name] = {"kept_mb": round(kept / 1e6, 2), "peak_mb": round(peak / 1e6, 1)}
    rows = [[name, *map(str, figure.values())] for name, figure in figures.items()]
    print_table(f"{CLASSES} classes, {CELLS} x {CELLS} cells", ["network", "kept MB", "peak MB"], rows)
    print_result(figures)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
