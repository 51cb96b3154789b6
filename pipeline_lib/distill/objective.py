"""What a distilled student minimises: a * hard loss + (1 - a) * T^2 * KL(teacher || student), exactly.

a is the weight of the HARD loss, T the temperature, z the student's raw score, y the hard label, t the teacher's
calibrated logit (regression: its prediction). T^2 makes up for the 1/T^2 shrinkage of the soft gradient. The
soft term is forward KL, so the student must give mass wherever the teacher does. Hessians are diagonal and
clipped from below. Soft labels are arguments, never attributes of a Dataset: those vanish when it is subset.
Source: distillation.md section 5. Legend: n rows, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax

from pipeline_lib.settings.tasks import Kind

Reals = NDArray[np.float64]
Labels = NDArray[np.generic]

MIN_HESSIAN = 1e-6
MIN_PROBABILITY = 1e-7
ROBUST = 1.4826


class Objective(Protocol):
    """``z`` and ``t`` are (n,), or (n, K) for a multiclass task; ``y`` is (n,)."""

    def base_score(self, y: Labels, t: Reals) -> Reals:
        """Raw score to start from: (1,) or (K,)."""

    def row_loss(self, z: Reals, y: Labels, t: Reals) -> Reals:
        """Loss of each row (n,)."""

    def gradients(self, z: Reals, y: Labels, t: Reals) -> tuple[Reals, Reals]:
        """First and diagonal second derivative of ``row_loss`` by z, in the shape of z."""

    def imitation(self) -> Objective:
        """The soft part alone: what early stopping watches."""


@dataclass(frozen=True)
class _Weighted:
    hard_weight: float

    def imitation(self) -> Self:
        """The hard part of a few thousand rows is noise that ends students early (docs/students.md)."""
        return replace(self, hard_weight=0.0) if self.hard_weight < 1 else self


@dataclass(frozen=True)
class Binary(_Weighted):
    """gradient a (p - y) + (1-a) T (p_T - q_T); hessian a p(1-p) + (1-a) p_T(1-p_T)."""

    temperature: float

    def base_score(self, y: Labels, t: Reals) -> Reals:
        blended = self.hard_weight * y.astype(np.float64) + (1 - self.hard_weight) * expit(t)
        mean = np.clip(blended.mean(), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        return np.array([np.log(mean / (1 - mean))])

    def row_loss(self, z: Reals, y: Labels, t: Reals) -> Reals:
        target, temp = y.astype(np.float64), self.temperature
        hard = -target * log_expit(z) - (1 - target) * log_expit(-z)
        q = expit(t / temp)
        soft = q * (log_expit(t / temp) - log_expit(z / temp))
        soft += (1 - q) * (log_expit(-t / temp) - log_expit(-z / temp))
        loss: Reals = self.hard_weight * hard + (1 - self.hard_weight) * temp**2 * soft
        return loss

    def gradients(self, z: Reals, y: Labels, t: Reals) -> tuple[Reals, Reals]:
        a, temp = self.hard_weight, self.temperature
        p, p_soft, q = expit(z), expit(z / temp), expit(t / temp)
        gradient = a * (p - y.astype(np.float64)) + (1 - a) * temp * (p_soft - q)
        hessian = a * p * (1 - p) + (1 - a) * p_soft * (1 - p_soft)
        return gradient, np.maximum(hessian, MIN_HESSIAN)


@dataclass(frozen=True)
class Multiclass(_Weighted):
    """Class k: gradient a (p_k - [y=k]) + (1-a) T (p_Tk - q_Tk); hessian K/(K-1) times the binary form.

    K/(K-1) is LightGBM's own scaling: with T = 1 and a = 1 this is its built-in multiclass objective.
    """

    temperature: float

    def base_score(self, y: Labels, t: Reals) -> Reals:
        shares = np.bincount(y.astype(np.int64), minlength=t.shape[1]) / len(y)
        blended = self.hard_weight * shares + (1 - self.hard_weight) * softmax(t, axis=1).mean(axis=0)
        scores: Reals = np.log(np.clip(blended, MIN_PROBABILITY, 1))
        return scores

    def row_loss(self, z: Reals, y: Labels, t: Reals) -> Reals:
        temp = self.temperature
        hard = -log_softmax(z, axis=1)[np.arange(len(y)), y.astype(np.int64)]
        log_q = log_softmax(t / temp, axis=1)
        soft = np.sum(np.exp(log_q) * (log_q - log_softmax(z / temp, axis=1)), axis=1)
        loss: Reals = self.hard_weight * hard + (1 - self.hard_weight) * temp**2 * soft
        return loss

    def gradients(self, z: Reals, y: Labels, t: Reals) -> tuple[Reals, Reals]:
        a, temp, classes = self.hard_weight, self.temperature, z.shape[1]
        p, q = softmax(z, axis=1), softmax(t / temp, axis=1)
        p_soft = p if temp == 1 else softmax(z / temp, axis=1)
        gradient = a * (p - np.eye(classes)[y.astype(np.int64)]) + (1 - a) * temp * (p_soft - q)
        hessian = a * p * (1 - p) + (1 - a) * p_soft * (1 - p_soft)
        return gradient, np.maximum(classes / (classes - 1) * hessian, MIN_HESSIAN)


@dataclass(frozen=True)
class Regression(_Weighted):
    """1/2 (a (z-y)^2 + (1-a) (z-t)^2): gradient z - (a y + (1-a) t), hessian 1. No temperature.

    With ``clip`` d the hard part is Huber's: its residual counts d at most, and the hessian stays 1, an upper bound.
    """

    clip: float | None = None
    """d in label units; None: every residual counts in full."""

    def base_score(self, y: Labels, t: Reals) -> Reals:
        blended = self.hard_weight * y.astype(np.float64) + (1 - self.hard_weight) * t
        return np.array([blended.mean()])

    def row_loss(self, z: Reals, y: Labels, t: Reals) -> Reals:
        residual = z - y.astype(np.float64)
        within = self._clipped(residual)
        hard, soft = within * (2 * residual - within), (z - t) ** 2
        return (self.hard_weight * hard + (1 - self.hard_weight) * soft) / 2

    def gradients(self, z: Reals, y: Labels, t: Reals) -> tuple[Reals, Reals]:
        hard = self._clipped(z - y.astype(np.float64))
        return self.hard_weight * hard + (1 - self.hard_weight) * (z - t), np.ones_like(z)

    def _clipped(self, residual: Reals) -> Reals:
        return residual if self.clip is None else np.clip(residual, -self.clip, self.clip)


def clip_of(y: Labels, t: Reals, sigmas: float) -> float | None:
    """``sigmas`` robust standard deviations of label - teacher, in label units; None where half of them are equal.

    The robust deviation is 1.4826 x the median distance from the median, a normal law's own. Source:
    distillation.md 5.
    """
    apart = y.astype(np.float64) - t
    width = float(np.median(np.abs(apart - np.median(apart))))
    return sigmas * ROBUST * width if width > 0 else None


def objective_of(kind: Kind, hard_weight: float, temperature: float, clip: float | None = None) -> Objective:
    """``clip`` bounds the hard residual of a regression [label units]."""
    if kind == "binary":
        return Binary(hard_weight, temperature)
    if kind == "multiclass":
        return Multiclass(hard_weight, temperature)
    return Regression(hard_weight, clip)
