"""How one published tensor relates to our leaves: a name, and where its rows and columns go.

The same entry serves reading and writing. Three facts cover every family: torch stores a linear map as
[outputs, inputs] and we as [inputs..., outputs...]; some families keep several of our matrices in one tensor, their
rows interleaved in groups; and our leaves under `blocks/` stack all layers, of which an entry sees one.
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
      theirs: its name; "{}" stands for the layer.
      ours: the leaves it holds, by path.
      inputs: how many leading dimensions of our leaf are the linear map's inputs; 0 for biases, norms and
        embedding tables, which lie as ours do.
      groups: rows are groups x leaves x (the rest): GPT-NeoX has query, key and value of each head side by
        side, CodeGen those of each quarter of the heads.
      also: other names that the same tensor has had.
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
        """Of the published tensor."""
        ours = shapes[self.ours[0]]
        if not self.inputs and len(self.ours) == 1:
            # Biases of heads are flat there; everything else without inputs has our shape.
            return (math.prod(ours),) if self.per_layer else ours
        columns = (math.prod(ours[: self.inputs]),) if self.inputs else ()
        return (len(self.ours) * math.prod(ours[self.inputs :]), *columns)

    def split(self, tensor: np.ndarray, leaf: str, shapes: Shapes) -> np.ndarray:
        """Our leaf of one layer out of the published tensor; a view where nothing is interleaved."""
        rest = tensor.shape[1:]
        if len(self.ours) > 1:
            tensor = tensor.reshape(self.groups, len(self.ours), -1, *rest)[:, self.ours.index(leaf)]
            tensor = tensor.reshape(-1, *rest)
        return (tensor.T if self.inputs else tensor).reshape(shapes[leaf])

    def join(self, leaves: Sequence[np.ndarray], shapes: Shapes) -> np.ndarray:
        """The published tensor from one layer of each of our leaves; the inverse of `split`."""
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
    """The published names of an entry with the layer each belongs to."""
    if not weight.per_layer:
        yield None, weight.theirs
        return
    for layer in range(num_layers):
        yield layer, weight.theirs.format(layer)
