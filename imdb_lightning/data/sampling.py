"""Which reviews make up each batch, on each process: a function of (seed, epoch) and nothing else.

The global batches of an epoch are the same for any number of processes; each takes one part of every batch. No
sampler state, no draw from a global generator: what was interrupted can go on as if it had not been.

The loader is its own, not a `DataLoader`: assembling 30 batches of a training epoch takes it 9 ms, and no worker
process could hand over a batch for less than it costs to make one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imdb_lightning.data.bags import Bags, multi_hot
from imdb_lightning.data.device_bags import DeviceBags

# Neighbours that `blocks` reads together: 135 KB with the mean review's 132 ids, about what Linux reads ahead anyway;
# and rows of such blocks that are mixed.
BLOCK_ROWS = 256
MIXED_ROWS = 32 * BLOCK_ROWS


class EpochOrder:
    """A permutation of the training rows for each epoch.

    `rows` draws from all permutations. `blocks` draws an order of blocks of neighbouring rows and mixes the rows of 32
    blocks at a time, so that reviews are read from a disk some hundred at a time, and none twice in an epoch.

    Lightning finds it as the loader's `sampler` and tells it the epoch, as it does with a `DistributedSampler`.
    """

    def __init__(self, rows: int, seed: int, shuffle: str = "rows") -> None:
        self.rows, self.seed, self.shuffle, self.epoch = rows, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch, counted from 0."""
        self.epoch = epoch

    def permutation(self) -> NDArray[np.int32]:
        """The epoch's order, int32 `[rows]`."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = np.arange(self.rows, dtype=np.int32)
        if self.shuffle == "rows":
            rng.shuffle(order)
            return order
        starts = range(0, self.rows, BLOCK_ROWS)
        order = np.concatenate([order[starts[block] :][:BLOCK_ROWS] for block in rng.permutation(len(starts))])
        for start in range(0, self.rows, MIXED_ROWS):
            rng.shuffle(order[start : start + MIXED_ROWS])
        return order


class Batch(NamedTuple):
    """This process's part of a global batch; it may be empty."""

    labels: Tensor  # Float32 `[b]` of 0 and 1.
    # Processes / weight of the whole global batch, float32 scalar. A sum of losses times it has a gradient whose mean
    # over processes is that of the global batch's mean loss, however uneven the parts are.
    scale: Tensor
    inputs: Tensor  # Word ids int32 `[n]`, or for the dense layout multi-hot rows float32 `[b, V]`.
    offsets: Tensor | None  # Int32 `[b + 1]`, where each review's ids begin; None for the dense layout.
    weights: Tensor | None  # Of the reviews' losses in their mean, float32 `[b]`; None: all are 1.


@dataclass(eq=False)
class BatchLoader:
    """This process's parts of an epoch's batches, as `Batch` tuples; on the CPU, or where `device_bags` are."""

    bags: Bags
    batch_size: int  # Reviews in a global batch; the last one is what is left.
    num_words: int
    layout: str  # `sparse` or `dense`.
    sampler: EpochOrder | None = None  # The order of training; None: rows in their order.
    rank: int = 0  # Which of the `world_size` parts of each batch is this process's.
    world_size: int = 1
    class_weights: tuple[float, float] | None = None  # Of the losses of negative and of positive reviews.
    device_bags: DeviceBags | None = None  # The same bags on a device, to make sparse batches there.
    # Lightning looks for this on any loader with a sampler; None is what a DataLoader of whole batches has.
    batch_sampler = None
    # Batches of this epoch that were yielded, and those that the next iteration leaves out.
    _yielded = _skip = 0

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch have been yielded; Lightning keeps it in the checkpoint."""
        return {"given": self._yielded}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """The next iteration, and only that, leaves these batches out; Lightning calls this to resume in an epoch."""
        self._skip = state_dict["given"]

    def __len__(self) -> int:
        return -(-len(self.bags) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = None if self.sampler is None else self.sampler.permutation()
        self._yielded, self._skip = self._skip, 0
        wholes = [
            slice(begin, min(begin + self.batch_size, len(self.bags)))
            for begin in range(self._yielded * self.batch_size, len(self.bags), self.batch_size)
        ]
        parts = [self._part(whole) for whole in wholes]
        contents = self._on_cpu(order, parts) if self.device_bags is None else self.device_bags.batches(order, parts)
        for whole, (inputs, offsets, labels) in zip(wholes, contents, strict=True):
            # Counted before the batch is used: a run resumed from a checkpoint after its step must not see it again.
            self._yielded += 1
            weight, weights = float(whole.stop - whole.start), None
            if self.class_weights is not None:
                # The weight of all parts together: means over parts would depend on how the batch was cut.
                classes = self.bags.labels[whole if order is None else order[whole]]
                weight = float(np.take(self.class_weights, classes).sum())
                negative, positive = self.class_weights
                weights = torch.where(labels > 0, positive, negative)
            scale = torch.full((), self.world_size / weight, device=labels.device)
            yield Batch(labels.float(), scale, inputs, offsets, weights)

    def _part(self, whole: slice) -> slice:
        # Parts differ by at most one review; in a batch smaller than the number of processes, some are empty.
        size = whole.stop - whole.start
        start = whole.start + size * self.rank // self.world_size
        return slice(start, whole.start + size * (self.rank + 1) // self.world_size)

    def _on_cpu(
        self, order: NDArray[np.int32] | None, parts: list[slice]
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        in_blocks = self.sampler is not None and self.sampler.shuffle == "blocks"
        requested = parts[0].start // MIXED_ROWS * MIXED_ROWS if parts else 0
        for part in parts:
            # The rows up to `requested` are being read: those that are mixed next have come when their turn is.
            while order is not None and in_blocks and requested < min(part.stop + MIXED_ROWS, len(order)):
                self.bags.will_need(order[requested : requested + MIXED_ROWS])
                requested += MIXED_ROWS
            # Neighbouring rows share memory with the bags; rows of a permutation are copied.
            ids, offsets = self.bags.span(part.start, part.stop) if order is None else self.bags.take(order[part])
            labels = torch.from_numpy(self.bags.labels[part if order is None else order[part]])
            if self.layout == "dense":
                yield torch.from_numpy(multi_hot(ids, offsets, self.num_words)), None, labels
            else:
                yield torch.from_numpy(ids), torch.from_numpy(offsets), labels


def find_class_weights(wanted: str | Sequence[float] | None, labels: NDArray[np.uint8]) -> tuple[float, float] | None:
    """Weights of the negative and the positive class; `balanced` gives both classes the same weight in all.

    Source: `class_weight="balanced"` of scikit-learn, `reviews / (2 * reviews of the class)`, after King and Zeng,
    "Logistic Regression in Rare Events Data" (2001).

    Example:
        >>> find_class_weights("balanced", np.array([0, 0, 0, 1], "u1"))
        (0.6666666666666666, 2.0)
    """
    if wanted is None or not isinstance(wanted, str):
        return None if wanted is None else (float(wanted[0]), float(wanted[1]))
    negative, positive = np.bincount(labels, minlength=2).tolist()
    return len(labels) / (2 * max(negative, 1)), len(labels) / (2 * max(positive, 1))
