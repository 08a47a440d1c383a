"""How one published tensor relates to our leaves: its name, and where its rows and columns go.

The same entry serves reading and writing. Three facts cover every family: torch stores a linear map as
[outputs, inputs], we store it as [inputs..., outputs...]; some families keep several of our matrices in one tensor,
their rows interleaved in groups; our leaves under `blocks/` stack all layers, and an entry describes one layer.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]  # of our leaves, by path, without the layer axis


@dataclasses.dataclass(frozen=True)
class Weight:
    """One published tensor.

    Attributes:
      theirs: its published name; "{}" stands for the layer.
      ours: the paths of the leaves it holds.
      inputs: how many leading dimensions of our leaf are inputs of the linear map; 0 for biases, norms and
        embedding tables, which are stored as ours are.
      groups: rows are groups x leaves x (the rest): GPT-NeoX interleaves query, key and value by head, CodeGen by
        quarter of the heads.
      also: former names of the same tensor.
    """

    theirs: str
    ours: tuple[str, ...]
    inputs: int = 0
    groups: int = 1
    also: tuple[str, ...] = ()

    @property
    def per_layer(self) -> bool:
        return "{}" in self.theirs

    def shape(self, shapes: Shapes) -> tuple[int, ...]:
        """The shape of the published tensor."""
        ours = shapes[self.ours[0]]
        if not self.inputs and len(self.ours) == 1:
            # Published biases of heads are flat; everything else without inputs has our shape.
            return (math.prod(ours),) if self.per_layer else ours
        columns = (math.prod(ours[: self.inputs]),) if self.inputs else ()
        return (len(self.ours) * math.prod(ours[self.inputs :]), *columns)

    def split(self, tensor: np.ndarray, leaf: str, shapes: Shapes) -> np.ndarray:
        """One layer of our leaf, taken from the published tensor; a view where nothing is interleaved."""
        rest = tensor.shape[1:]
        if len(self.ours) > 1:
            tensor = tensor.reshape(self.groups, len(self.ours), -1, *rest)[:, self.ours.index(leaf)]
            tensor = tensor.reshape(-1, *rest)
        return (tensor.T if self.inputs else tensor).reshape(shapes[leaf])

    def join(self, leaves: Sequence[np.ndarray], shapes: Shapes) -> np.ndarray:
        """The published tensor, assembled from one layer of each of our leaves; the inverse of `split`."""
        rows = [self._rows(leaf) for leaf in leaves]
        if len(rows) == 1:
            return rows[0].reshape(self.shape(shapes))
        rest = rows[0].shape[1:]
        grouped = np.stack([x.reshape(self.groups, -1, *rest) for x in rows], axis=1)
        return grouped.reshape(self.shape(shapes))

    def _rows(self, leaf: np.ndarray) -> np.ndarray:
        if not self.inputs:
            return leaf.reshape(-1) if len(self.ours) > 1 else leaf
        return leaf.reshape(math.prod(leaf.shape[: self.inputs]), -1).T


def numbered(weight: Weight, num_layers: int) -> Iterator[tuple[int | None, str]]:
    """The published names of an entry, each with the layer it belongs to (None outside the blocks)."""
    if not weight.per_layer:
        yield None, weight.theirs
        return
    for layer in range(num_layers):
        yield layer, weight.theirs.format(layer)
