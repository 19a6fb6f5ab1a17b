"""g = Σ_s (n_s/n) g_s over the S shards of a batch, added along one binary tree: the same bits on any ranks.

n_s: examples of shard s, n: of the batch; g_s: the gradient of the shard's mean loss, all parameters in a row
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, NonFiniteError, fail
from vqnp.nn.module import Param
from vqnp.nn.trainable import Batch, Losses
from vqnp.training.ranks import Ranks

Node = tuple[int, int]
"""A node of the tree: its first shard, and how many it has. Its children are the first half and the rest."""


class ShardResult(NamedTuple):
    """What every rank learns of a shard: its share n_s/n of the batch, its losses, its batch_arrays."""

    share: float
    losses: dict[str, float]
    arrays: tuple[Array, ...]


class Shards:
    """How a batch is cut into shards, which rank computes which, and how their gradients are added.

    The rank of shard s is ⌊s R/S⌋, so a rank has neighbouring shards, and most sums need no message.

    Parameters
    ----------
    count : int
        S. The sum depends on it, and not on the ranks.
    ranks : Ranks
        At most S of them.

    Examples
    --------
    >>> shards = Shards(4, Ranks())
    >>> shards.bounds(10)
    [0, 2, 5, 7, 10]
    """

    def __init__(self, count: int, ranks: Ranks) -> None:
        if ranks.size > count:
            needed = f"must be at least the number of ranks, {ranks.size}, of which each has a shard"
            fail("fit", "shards", needed, count)
        self.count, self.ranks = count, ranks
        self.own = [shard for shard in range(count) if self.rank_of(shard) == ranks.rank]

    def rank_of(self, shard: int) -> int:
        """The rank that computes a shard."""
        return shard * self.ranks.size // self.count

    def bounds(self, n: int) -> list[int]:
        """Shard s of n rows has those from bounds[s] to bounds[s + 1] − 1; it may have none."""
        return [n * shard // self.count for shard in range(self.count + 1)]

    def step(
        self, model: Any, take: Callable[[int, int], Batch], n: int, seed: int, step: int, told: bool = False
    ) -> tuple[Losses, tuple[Array, ...], bool]:
        """Compute our shards, then set every Param's grad to the whole batch's gradient.

        take(i, j): rows i to j − 1 of the batch, which has n; seed: with the step and the shard's number,
        that of what the shard draws; told: whether this rank has been told to stop

        Returns the losses, means over the batch; the arrays that after_step needs, of the whole batch; and
        whether any rank was told to stop.

        Raises
        ------
        NonFiniteError
            On every rank, if a shard's numbers are not finite on one; no parameter has then changed.
        """
        bounds, parameters = self.bounds(n), list(model.parameters())
        results: list[ShardResult] = []

        def gradient(shard: int) -> Array:
            share = (bounds[shard + 1] - bounds[shard]) / n
            rng = np.random.default_rng((seed, step, shard))
            losses, cache = model.loss(take(bounds[shard], bounds[shard + 1]), rng, step)
            for param in parameters:
                param.zero_grad()
            model.backward(cache, share)
            named = {name: float(value) for name, value in losses.items()}
            results.append(ShardResult(share, named, model.batch_arrays(cache)))
            return np.concatenate([param.grad.reshape(-1) for param in parameters])

        sums, failed = dict[Node, Array](), list[NonFiniteError]()
        try:
            self._sum_own((0, self.count), bounds, gradient, sums)
        except NonFiniteError as error:
            failed.append(error)
        everyone = self.ranks.everyone((results, failed, told))
        for _, found, _ in everyone:
            if found:
                raise found[0]
        known = [result for of_rank, _, _ in everyone for result in of_rank]  # in the order of shards
        form = np.empty(sum(p.value.size for p in parameters), np.result_type(*(p.value for p in parameters)))
        total = self._sum_all((0, self.count), bounds, sums, form)
        _set_gradients(parameters, self.ranks.from_first(form if total is None else total))
        arrays = (np.concatenate(parts) for parts in zip(*(result.arrays for result in known), strict=True))
        return _mean_losses(known), tuple(arrays), any(told for _, _, told in everyone)

    # The tree. A node without rows is no term; every rank knows which are.

    def _halves(self, node: Node) -> tuple[Node, Node]:
        first, count = node
        return (first, count // 2), (first + count // 2, count - count // 2)

    def _is_ours(self, node: Node) -> bool:
        return self.rank_of(node[0]) == self.rank_of(node[0] + node[1] - 1) == self.ranks.rank

    def _sum_own(
        self, node: Node, bounds: list[int], leaf: Callable[[int], Array], sums: dict[Node, Array]
    ) -> None:
        """In sums: the largest nodes all of whose shards are ours."""
        if self._is_ours(node):
            if (total := self._sum_node(node, bounds, leaf)) is not None:
                sums[node] = total
        elif node[1] > 1:
            for half in self._halves(node):
                self._sum_own(half, bounds, leaf, sums)

    def _sum_node(self, node: Node, bounds: list[int], leaf: Callable[[int], Array]) -> Array | None:
        """The sum of a node all of whose shards are ours."""
        first, count = node
        if bounds[first] == bounds[first + count]:
            return None
        if count == 1:
            return leaf(first)
        left, right = (self._sum_node(half, bounds, leaf) for half in self._halves(node))
        return _added(left, right)

    def _sum_all(
        self, node: Node, bounds: list[int], sums: dict[Node, Array], form: Array
    ) -> Array | None:
        """The node's sum on the rank of its first shard, with messages where the halves' ranks differ."""
        first, count = node
        ours, last = self.rank_of(first), self.rank_of(first + count - 1)
        if ours == last:
            return sums.get(node)
        halves = self._halves(node)
        left, right = (self._sum_all(half, bounds, sums, form) for half in halves)
        source = self.rank_of(halves[1][0])
        if source != ours and bounds[halves[1][0]] < bounds[first + count]:
            if self.ranks.rank == source:
                self.ranks.send(right, ours)  # type: ignore[arg-type]
            elif self.ranks.rank == ours:
                right = self.ranks.receive(np.empty_like(form), source)
        return _added(left, right) if self.ranks.rank == ours else None


def _added(left: Array | None, right: Array | None) -> Array | None:
    """left + right, in the place of left; None is no term."""
    if left is None or right is None:
        return right if left is None else left
    left += right
    return left


def _mean_losses(results: list[ShardResult]) -> Losses:
    """Σ_s (n_s/n) L_s of each loss, in the order of shards."""
    names = results[0].losses
    return {name: np.asarray(sum(one.share * one.losses[name] for one in results)) for name in names}


def _set_gradients(parameters: list[Param], g: Array) -> None:
    """Each parameter's part of g as its gradient."""
    first = 0
    for param in parameters:
        size = param.value.size
        part = g[first : first + size].reshape(param.value.shape)
        param.zero_grad()
        param.add_grad(part.astype(param.value.dtype, copy=False))
        first += size
