"""A network's two passes shared out to any number of processes, with the same bits for each number.

A sum of floats depends on its order, a matrix product on the number of its rows. Here neither depends on who computes:

- the first layer adds up a review's rows of the kernel, in whichever process;
- the layers after it take fixed parts of a batch one by one, and the parts' gradients are added in the parts' order;
- the first layer's gradient adds up a word's reviews, all of the batch in their order, in whichever process.

All processes hold the whole batch and get all logits and all gradients, so that losses, totals, the optimizer and
everything else go on in each as if it were the only one. The machines must be of one kind: another kind of processor
rounds the same product in another way.

Shapes: `B` reviews in a batch, `V` words, `H` units, `N` word ids in a batch, `S` parts, `P` those of this process,
`n` numbers in all parameters but the first kernel.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from imdb_lightning.model.multi_hot import MultiHotLinear, cut_columns, sum_gradients, sum_rows


class Shards:
    """Cuts each batch into `count` parts, which are dealt out to the processes as evenly as they go.

    Attributes:
        seeds: of the draws in each part of the next training batch, and of those after it, `[S + 1]`; empty: none.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.seeds: list[int] = []

    def logits(self, words: MultiHotLinear, rest: nn.Sequential, ids: Tensor, offsets: Tensor) -> Tensor:
        """Logits of a whole batch, float32 `[B]`; ids and offsets as of `MultiHotLinear.forward`.

        All processes call this with the same batch, and the backward pass through it, at the same time.
        """
        passes = _Passes(self, words, rest, ids.contiguous(), offsets.contiguous())
        if not torch.is_grad_enabled():
            return passes.forward(keep=False)
        logits: Tensor = _Logits.apply(passes, words.weight, *passes.parameters)  # type: ignore[no-untyped-call]
        return logits


class _Logits(torch.autograd.Function):
    """What autograd sees of both passes."""

    @staticmethod
    def forward(ctx: Any, passes: "_Passes", *parameters: Tensor) -> Tensor:
        ctx.passes = passes
        return passes.forward(keep=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.passes.backward(gradient)


class _Passes:
    """Both passes of one batch."""

    def __init__(
        self, shards: Shards, words: MultiHotLinear, rest: nn.Sequential, ids: Tensor, offsets: Tensor
    ) -> None:
        self.shards, self.words, self.rest, self.ids, self.offsets = shards, words, rest, ids, offsets
        self.parameters = [words.bias, *rest.parameters()]
        self.rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        # At which part each process's begin, at which row each part's; and where the last ones end.
        self.firsts = [shards.count * process // processes for process in range(processes + 1)]
        self.rows = [(len(offsets) - 1) * part // shards.count for part in range(shards.count + 1)]
        self.parts = range(self.firsts[self.rank], self.firsts[self.rank + 1])
        self.own = slice(self.rows[self.parts.start], self.rows[self.parts.stop])
        self.sizes = [self.rows[part + 1] - self.rows[part] for part in self.parts]

    def forward(self, keep: bool) -> Tensor:
        """Logits of all processes' parts, `[B]`; `keep`: what the backward pass needs."""
        words, offsets = self.words, self.offsets[self.own.start : self.own.stop + 1]
        begin, end = offsets[[0, -1]].tolist()
        ids, offsets = self.ids[begin:end], offsets - begin
        sums, self.scale = sum_rows(words.weight, ids, offsets, words.factors), words.scale(ids, offsets)
        if self.scale is not None:
            sums = sums * self.scale
        self.tensors, self.outputs = list[Tensor](), list[Tensor]()
        with torch.set_grad_enabled(keep):
            for part, inputs in zip(self.parts, torch.split(sums, self.sizes), strict=True):
                self._seed(part)
                # Of each part's own, so that one backward pass keeps the parts' gradients apart.
                tensors = [inputs.requires_grad_(keep)]
                tensors += [parameter.detach().requires_grad_(keep) for parameter in self.parameters]
                self.outputs.append(self._rest(*tensors))
                self.tensors += tensors
        self._seed(-1)  # What draws later must not depend on which part was this process's last.
        return self._join_rows(torch.cat([outputs.detach() for outputs in self.outputs]).squeeze(-1).float())

    def _rest(self, inputs: Tensor, bias: Tensor, *parameters: Tensor) -> Tensor:
        """The layers after the sum, `[b, H]` to `[b, 1]`, with the parameters in place of their own."""
        outputs, left = inputs + bias, iter(parameters)
        for layer in self.rest:
            outputs = F.linear(outputs, next(left), next(left)) if isinstance(layer, nn.Linear) else layer(outputs)
        return outputs

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Gradients of the first kernel and of `parameters`, of that of the logits, float32 `[B]`."""
        of_outputs = torch.split(gradient[self.own, None].to(self.outputs[0].dtype), self.sizes)
        found = torch.autograd.grad(self.outputs, self.tensors, of_outputs)
        count = 1 + len(self.parameters)
        of_sums = torch.cat(found[::count])
        kernel = self._sum_gradients(self._join_rows(of_sums if self.scale is None else of_sums * self.scale))
        if self.words.factors is not None:
            kernel *= self.words.factors[:, None]
        of_parts = torch.cat([torch.stack(found[one::count]).flatten(1) for one in range(1, count)], 1)  # [P, n]
        parts_of_processes = [last - first for first, last in pairwise(self.firsts)]
        summed = _join(of_parts, parts_of_processes).sum(0)  # [S, n] to [n].
        split = torch.split(summed, [parameter.numel() for parameter in self.parameters])
        return [kernel, *(own.view_as(parameter) for own, parameter in zip(split, self.parameters, strict=True))]

    def _sum_gradients(self, gradient: Tensor) -> Tensor:
        """As `sum_gradients` of the whole batch; each process adds up those of a range of words, of as many ids."""
        ids, num_words = self.ids, len(self.words.weight)
        if len(self.firsts) == 2:
            return sum_gradients(gradient, ids, self.offsets, num_words)
        counts = torch.bincount(ids, minlength=num_words)
        processes = len(self.firsts) - 1
        shares = torch.arange(1, processes, device=ids.device) * len(ids) // processes
        bounds = [0, *torch.searchsorted(counts.cumsum(0), shares).tolist(), num_words]
        first, last = bounds[self.rank], bounds[self.rank + 1]
        own = sum_gradients(gradient, *cut_columns(ids, self.offsets, first, last), last - first)
        # The others' rows are zeros, whose places all processes know.
        occurs = counts > 0
        sizes = [int(occurs[begin:end].sum()) for begin, end in pairwise(bounds)]
        summed = gradient.new_zeros(num_words, gradient.shape[1])
        summed[occurs] = _join(own[occurs[first:last]], sizes)
        return summed

    def _seed(self, part: int) -> None:
        if self.rest.training and self.shards.seeds:
            seed_draws(self.ids.device, self.shards.seeds[part])

    def _join_rows(self, own: Tensor) -> Tensor:
        sizes = [self.rows[last] - self.rows[first] for first, last in pairwise(self.firsts)]
        return _join(own, sizes)


def _join(own: Tensor, sizes: list[int]) -> Tensor:
    """The rows of all processes, one process after the other; each gives its own and knows how many the others have."""
    if len(sizes) == 1:
        return own
    joined = own.new_empty(sum(sizes), *own.shape[1:])
    pieces = torch.split(joined, sizes)
    pieces[dist.get_rank()].copy_(own)
    # Not an all-gather: its pieces must be of one size, and gloo copies them twice.
    waits = [dist.broadcast(piece, rank, async_op=True) for rank, piece in enumerate(pieces) if len(piece)]
    for wait in waits:
        wait.wait()
    return joined


def seed_draws(device: torch.device, seed: int) -> None:
    """Seeds torch's own generator of a device; takes a microsecond where `torch.manual_seed` takes 0.27 ms."""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
