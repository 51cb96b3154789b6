"""Clusters of customers as probabilities: gmm_clustering, a Gaussian mixture fitted on train rows.

p(x) = sum_k pi_k N(x; mu_k, S_k); responsibility g_k(x) = pi_k N_k(x) / sum_j pi_j N_j(x). A row that lacks most of
its inputs is cold: it has no responsibilities, and normalising makes it belong to every cluster alike (1/K each, id
K). Its entropy is that of the uniform, ln K. Source: features.md 6 and 12.2.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_array
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from pipeline_lib.features.columns import SNAPSHOT, Column, Floats, Values, nan_where
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape, seed_of, unpacked
from pipeline_lib.features.material import Material
from pipeline_lib.features.mixture_inputs import AFTER, fit_inputs, sources_of, standardised
from pipeline_lib.settings.feature_groups.mixture import Mixture
from pipeline_lib.settings.features import Features

log = logging.getLogger(__name__)
GROUP = "gmm_clustering"
BLOCK_ROWS = 2_000
COLD_CLUSTER = 1.0
"""Id K of a cold row, as id / K."""
_TINY = 1e-10


def generator(shape: Shape, policy: Features) -> Generator:
    """K probabilities, the likeliest cluster as id / K, and their entropy in [0, ln K].

    The number of clusters is known after the fit: dead ones are left out. So is the lineage: that of the inputs.
    """
    own = policy.mixture

    def fit(m: Material, made: Values) -> Arrays:
        inputs = fit_inputs(made, own, policy.heavy_tails)
        z, missing = standardised(made, inputs, own)
        known = np.flatnonzero(missing <= own.cold_share)
        picked = known[:: max(1, -(-len(known) // own.fit_rows))]
        return {**inputs, **fit_mixture(z[picked], own)}

    def columns_of(learnt: Arrays, known: Mapping[str, Column]) -> tuple[Column, ...]:
        used = [known[name] for name in sources_of(unpacked(learnt["inputs"]))]
        return _columns(len(learnt["weights"]), tuple(sorted({source for column in used for source in column.lineage})))

    return Generator(
        _columns(own.clusters, (f"{SNAPSHOT}.snapshot_date",)),
        lambda m, learnt, made: _make(learnt, made, own),
        fit,
        after=AFTER,
        columns_of=columns_of,
        backend="sklearn",
    )


def fit_mixture(z: Floats, own: Mixture) -> Arrays:
    """``weights`` [K], ``means`` [K, D] and ``factors`` [K, D, D] with S_k^-1 = F F' on z-scores [n, D].

    A component with a mean responsibility below ``own.dead_share`` is dead; the mixture is then fitted anew with as
    many fewer.

    Raises:
        GroupUnavailable: fewer rows than components.
    """
    clusters = own.clusters
    while True:
        if len(z) < clusters:
            raise GroupUnavailable(f"{len(z)} train rows with enough inputs, expected at least {clusters} clusters")
        model = _likeliest(z, clusters, own)
        dead = int((model.predict_proba(z).mean(axis=0) < own.dead_share).sum())
        if not dead:
            return {"weights": model.weights_, "means": model.means_, "factors": model.precisions_cholesky_}
        log.warning("%s: %d of %d components are dead; fitted again without them", GROUP, dead, clusters)
        clusters -= dead


def responsibilities(z: Floats, learnt: Arrays) -> Floats:
    """g_k of every row [R, K] by log-sum-exp.

    ln N_k(x) = ln det F_k - |(x - mu_k) F_k|^2 / 2 - D ln(2 pi) / 2; the last term is the same for all k. The product
    is a sparse one because that sums each row alone: the same bytes in any batch.
    """
    weights, means, factors = learnt["weights"], learnt["means"], learnt["factors"]
    clusters, dim = means.shape
    table = factors.transpose(1, 0, 2).reshape(dim, clusters * dim)
    centre = np.einsum("kd,kde->ke", means, factors)
    constant = np.log(weights) + np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    out = np.empty((len(z), clusters))
    for first in range(0, len(z), BLOCK_ROWS):
        part = (csr_array(z[first : first + BLOCK_ROWS]) @ table).reshape(-1, clusters, dim) - centre
        joint = constant - (part**2).sum(axis=2) / 2
        out[first : first + BLOCK_ROWS] = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    return out


def _likeliest(z: Floats, clusters: int, own: Mixture) -> GaussianMixture:
    """The best of several starts; a later one has to be better by more than ``own.equal_likelihood``."""
    best: GaussianMixture | None = None
    for start in range(own.starts):
        model = fitted_mixture(z, clusters, own, seed_of(GROUP) + start)
        if best is None or model.lower_bound_ > best.lower_bound_ + own.equal_likelihood:
            best = model
    return best


def fitted_mixture(z: Floats, clusters: int, own: Mixture, seed: int) -> GaussianMixture:
    """One start. On one thread: sums over rows in another order would end in another optimum."""
    model = GaussianMixture(
        clusters,
        covariance_type="full",
        tol=own.tolerance,
        reg_covar=own.covariance_floor,
        max_iter=own.max_iterations,
        random_state=seed % 2**32,
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, with the figures
        model.fit(z)
    if not model.converged_:
        log.warning("%s: %d clusters, seed %d: not converged after %d steps", GROUP, clusters, seed, own.max_iterations)
    return model


def _make(learnt: Arrays, made: Values, own: Mixture) -> Values:
    z, missing = standardised(made, learnt, own)
    clusters, cold = len(learnt["weights"]), missing > own.cold_share
    g = responsibilities(z, learnt)
    entropy = np.maximum(-(g * np.log(g + _TINY)).sum(axis=1), 0.0)
    return {
        **{f"gmm_prob_{k:02d}": nan_where(cold, g[:, k]) for k in range(clusters)},
        "gmm_cluster": nan_where(cold, g.argmax(axis=1) / clusters),
        "gmm_entropy": np.where(cold, np.log(clusters), entropy),
    }


def _columns(clusters: int, lineage: tuple[str, ...]) -> tuple[Column, ...]:
    return (
        *(Column(f"gmm_prob_{k:02d}", "prob", lineage) for k in range(clusters)),
        Column("gmm_cluster", "code", lineage, fill=COLD_CLUSTER),
        Column("gmm_entropy", "num", lineage),
    )
