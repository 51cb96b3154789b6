"""Where everything is in a compiled forest. Little-endian; sections in this order, each padded to 8 bytes.

    header       magic, version, counts, objective                                 64 bytes
    leaf         float64 [leaves]      values, tree by tree, left to right
    mask         uint32 or uint64      per sorted node: the leaves that stay when its test fails
    node         16 bytes [nodes]      per tree in preorder: threshold, mean value, feature, decision, children
    first_leaf   uint32 [trees + 1]    the nodes of tree i begin at first_leaf[i] - i
    threshold    float32 [nodes]       sorted nodes: by feature, then NaN's direction, then threshold
    start        uint32 [2 width + 1]  per feature: its sorted nodes where NaN goes left, then right
    category     uint32 [sets + 1]     sets of categories that go left, as bits in
    word         uint32
    tree         uint16 [nodes]        of the sorted nodes
    names        UTF-8                 features, separated by spaces

``mask``, ``threshold``, ``start`` and ``tree`` are there when bit vectors can hold the forest (``mask_bits`` 32 or 64).
A threshold is the largest float32 not above LightGBM's: no float32 lies between, so no row is decided otherwise.
Decision bits as LightGBM's: 1 categorical, 2 default left, 4 and 8 the kind of missing.
"""

from __future__ import annotations

from struct import Struct

from pipeline_lib.errors import ContractError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC, VERSION = b"plforest", 1
HEADER = Struct("<8s10IdQ")
NODE = Struct("<IfHBBhh")
"""threshold (or number of a category set), mean value, feature, decision, 0, left, right."""
RAW, IDENTITY, SIGMOID, SOFTMAX, EXP = range(5)
"""What makes a model's output of its raw scores; RAW: the text does not say (a custom objective)."""
PROMISES = (
    "kept", "a header", "trees for every output", "features and masks in range", "the length its counts say",
    "leaves of every tree in order", "children inside the tree, after their parent", "features of the model",
    "category sets that exist", "sorted nodes of every feature in order", "a leaf left in every tree",
)  # fmt: skip
"""What ``forest_check`` and ``forest_sum`` found broken, by number."""


class Forest:
    """A compiled file and its counts; its length is theirs. Indices are checked before use: kernel or ``trees.py``.

    Raises:
        ContractError: the bytes are not a forest of this layout.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER.size or data[:8] != MAGIC:
            raise ContractError(f"no compiled forest: {data[:8]!r}")
        (
            _, version, self.mask_bits, self.outputs, self.width, self.trees, self.leaves, self.sets, self.words,
            self.objective, names, self.parameter, _,
        ) = HEADER.unpack_from(data)  # fmt: skip
        if version != VERSION:
            raise ContractError(f"a compiled forest of layout {version}, this code reads {VERSION}")
        self.data = data
        if not self.outputs or not self.trees or self.trees % self.outputs:  # LightGBM makes room for any number
            raise ContractError(f"a compiled forest should have {PROMISES[2]}")
        if self.leaves < self.trees or self.mask_bits not in (0, 32, 64):
            raise ContractError(f"a compiled forest should have {PROMISES[2]}")
        if HEADER.size + sum(padded(size) for _, size in self.sections().values()) + names != len(data):
            raise ContractError(f"a compiled forest should have {PROMISES[4]}")
        try:
            self.features = tuple(data[len(data) - names :].decode("utf-8").split(" "))
        except UnicodeDecodeError as error:
            raise ContractError(f"a compiled forest with names that are no text: {error}") from error
        if len(self.features) != self.width or self.objective > EXP:
            raise ContractError(f"a compiled forest should have {PROMISES[3]}")

    @property
    def nodes(self) -> int:
        return int(self.leaves - self.trees)

    def sections(self) -> dict[str, tuple[int, int]]:
        """Section -> (first byte, bytes without padding)."""
        fast = self.nodes if self.mask_bits else 0
        sizes = {
            "leaf": 8 * self.leaves, "mask": fast * self.mask_bits // 8, "node": NODE.size * self.nodes,
            "first_leaf": 4 * (self.trees + 1), "threshold": 4 * fast,
            "start": 4 * (2 * self.width + 1) if self.mask_bits else 0,
            "category": 4 * (self.sets + 1), "word": 4 * self.words, "tree": 2 * fast,
        }  # fmt: skip
        found, at = {}, HEADER.size
        for name, size in sizes.items():
            found[name] = (at, size)
            at += padded(size)
        return found

    def section(self, name: str) -> memoryview:
        """Bytes of one section, in place."""
        at, size = self.sections()[name]
        return memoryview(self.data)[at : at + size]

    def integers(self, name: str) -> list[int]:
        """Numbers of a uint32 section."""
        return self.section(name).cast("I").tolist()

    def reals(self, name: str) -> list[float]:
        """Numbers of a float64 section."""
        return list(self.section(name).cast("d"))


def padded(size: int) -> int:
    return size + -size % 8


def packed(sections: Sequence[bytes]) -> bytes:
    return b"".join(part + bytes(-len(part) % 8) for part in sections)
