"""Classical multi-task networks over one plain tensor: comparators without named experts.

    net = PLE(in_dim, tasks={"income": 1, "channel": 4}, shape=Shape(...))
    logits = net(x)                       # (B, D) -> {"income": (B,), "channel": (B, 4)}

``SharedBottom``, ``MMoE`` and ``PLE`` differ in the trunk only, (B, D) -> (B, T, H); heads and widths are the same.
Experts are equal MLPs, and all of a level run as one batched product. ``fields`` makes x of a table's categories and
numbers; ``bins`` learns what that needs from train rows. ``ensemble`` shares one network among several members.
"""

from __future__ import annotations

from pipeline_lib.teacher.classic.mmoe import MMoE
from pipeline_lib.teacher.classic.ple import PLE
from pipeline_lib.teacher.classic.shared_bottom import SharedBottom

__all__ = ["PLE", "MMoE", "SharedBottom"]
