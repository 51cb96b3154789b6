"""The rows, labels and inputs of a scenario: the bank's, with what the scenario changes about them.

Nothing here is a copy of the rows: a smaller sample only renames the part of the rows that are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.canonical import digest, with_decimals
from pipeline_lib.errors import SettingsError
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings import Settings
from pipeline_lib.settings.ablation import Scenario
from pipeline_lib.settings.teacher import Teacher
from pipeline_lib.teacher.contract import Group, Inputs, TaskSpec
from pipeline_lib.teacher.frame import CALIB, FIT, STOP, Frame, with_statistics
from pipeline_lib.teacher.setup import Data, read_data

LEARNT_FROM = (FIT, STOP, CALIB)
PLANTED, LEFT_OUT = "planted", "left_out"


@dataclass
class Bank:
    """The artefacts scenarios are run on. The newest ``Data`` is kept: neighbours in a family mostly share it."""

    features: StageOutput
    labels: StageOutput
    settings: Settings
    rows: int | None = None
    """Train rows at most; None: all. What is judged stays whole."""
    _kept: tuple[str, Data] | None = None

    @property
    def fingerprint(self) -> str:
        """Of the artefacts and the tasks' policy, whose weights and alphas decide what is learnt from them."""
        tasks = with_decimals(self.settings.tasks.model_dump(mode="json"), 12)
        found = [self.features.content_hash, self.labels.content_hash]
        return digest({"in": found, "tasks": tasks, "rows": self.rows})[:16]

    def read(self, policy: Teacher) -> Data:
        """Inputs, frame and tasks under a policy."""
        shape = policy.model_dump(mode="json", include={"experts", "architecture", "loss"})
        key = digest({"shape": {k: str(v) for k, v in shape.items()}})
        if self._kept is None or self._kept[0] != key:
            found = read_data(self.features, self.labels, self.settings.model_copy(update={"teacher": policy}))
            self._kept = key, found if self.rows is None else smaller(found, self.rows, policy)
        return self._kept[1]


def material(bank: Bank, scenario: Scenario, policy: Teacher, seed: int) -> Data:
    """What a scenario trains on; tasks that are not active on this bank are passed over.

    Raises:
        SettingsError: it names a task that does not exist, or none of its tasks is active.
    """
    data = bank.read(policy)
    active = {task.name for task in data.tasks}
    for named in (scenario.tasks, scenario.plant):
        if unknown := sorted(set(named) - bank.settings.tasks.tasks.keys()):
            raise SettingsError(f"scenario {scenario.name}: tasks {unknown} do not exist")
        if named and not active & set(named):
            raise SettingsError(f"scenario {scenario.name}: none of the tasks {named} is active on this bank")
    if scenario.plant:
        data = planted(data, [name for name in scenario.plant if name in active])
    if scenario.tasks:
        kept = [task for task in data.tasks if task.name in scenario.tasks]
        labels = {task.name: data.frame.labels[task.name] for task in kept}
        data = replace(data, tasks=kept, frame=replace(data.frame, labels=labels))
    return replace(data, frame=shuffled(data.frame, seed)) if scenario.shuffle else data


def smaller(data: Data, rows: int, policy: Teacher) -> Data:
    """At most ``rows`` train rows: the leading ones, which in hash order are a sample of customers."""
    part = data.frame.keys["part"]
    keep = pl.DataFrame({"part": part}).select((part != FIT) | (pl.int_range(pl.len()).over("part") < rows))
    names = pl.select(pl.when(keep.to_series()).then(part).otherwise(pl.lit(LEFT_OUT))).to_series()
    frame = replace(data.frame, keys=data.frame.keys.with_columns(part=names))
    tasks = with_statistics(data.tasks, frame, policy.loss.class_weight_power, policy.loss.class_weight_range)
    return replace(data, frame=frame, tasks=tasks)


def planted(data: Data, names: Sequence[str]) -> Data:
    """The labels of some tasks as one more group of inputs, zeros where unknown: a leak made on purpose."""
    tasks = {task.name: task for task in data.tasks}
    columns = torch.cat([_columns(tasks[name], data.frame.labels[name]) for name in names], dim=1)
    inputs, start = data.inputs, data.inputs.columns
    readers = ("deepfm",) if any(group.experts for group in inputs.groups) else ()
    group = Group(PLANTED, start, start + columns.shape[1], "x_norm", readers)
    wider = replace(inputs, columns=group.end, groups=(*inputs.groups, group))
    return replace(data, inputs=wider, frame=replace(data.frame, x=torch.cat([data.frame.x, columns], dim=1)))


def shuffled(frame: Frame, seed: int) -> Frame:
    """Labels, masks included, permuted over the rows that are learnt from; the judged rows keep theirs."""
    rows = frame.part(*LEARNT_FROM)
    order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    labels = {name: label.clone() for name, label in frame.labels.items()}
    for name, label in frame.labels.items():
        labels[name][rows] = label[order]
    return replace(frame, labels=labels)


def dense(frame: Frame, rows: Tensor) -> Tensor:
    """What a model without named experts reads: the columns of x, then the edges. (n,) -> (n, F + I)."""
    return torch.cat([frame.x[rows], frame.edges[rows]], dim=1)


def dense_width(inputs: Inputs) -> int:
    return inputs.columns + len(inputs.items)


def fingerprints(frame: Frame, judged: Sequence[str]) -> dict[str, str]:
    """Hashes that scenarios of a family must share: the judged rows' keys, and every task's labels on them."""
    rows = frame.part(*judged)
    keys = frame.keys[rows.numpy()].select("customer_key", "cutoff_date", "part")
    found = {"rows": hashlib.sha256(keys.write_csv().encode()).hexdigest()[:16]}
    labels: Mapping[str, Tensor] = frame.labels
    return {**found, **{f"label:{name}": hash_of(label[rows].numpy()) for name, label in labels.items()}}


def hash_of(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def _columns(task: TaskSpec, label: Tensor) -> Tensor:
    """(N,) -> (N, K) one-hot of a class, or (N, 1)."""
    known = ~label.isnan()
    value = label.nan_to_num(0.0)
    if task.kind == "multiclass":
        return (F.one_hot(value.long(), task.out) * known[:, None]).float()
    return (value * known)[:, None].float()
