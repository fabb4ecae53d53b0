"""Every input of the gene transformer as its definition reads, in plain loops over genes: slow, independent.

Written from the descriptions in the docstrings and the page "Features"; numpy and scipy only, float64.
"""

import numpy as np
from scipy import stats

SHRINKAGES = (0.02, 0.1, 0.35)
LIMIT = 12


def squash(z):
    return np.sign(z) * np.log(1 + np.abs(z))


def rank_feature(magnitude):
    """Of ranks from 1; magnitudes that are equal but for rounding share their mean rank."""
    falling = np.argsort(-np.asarray(magnitude), kind="stable")
    ranks, place = np.zeros(len(falling)), 0
    while place < len(falling):
        largest = magnitude[falling[place]]
        run = [g for g in falling[place:] if largest - magnitude[g] <= 3e-5 * max(abs(largest), 1)]
        ranks[run] = place + (len(run) + 1) / 2
        place += len(run)
    return -np.log2(ranks) / 4


def variance(x):
    return x.var(axis=0, ddof=1) if np.ptp(x) > 0 else 0.0


def excess_kurtosis(x):
    deviation = x - x.mean()
    return np.mean(deviation**4) / np.mean(deviation**2) ** 2 - 3 if np.ptp(x) > 0 else 0.0


def scaled(values, mean, var):
    """Genes of no variance become 0."""
    return np.stack(
        [
            (values[:, j] - mean[j]) / np.sqrt(var[j]) if var[j] > 0 else 0 * values[:, j]
            for j in range(len(mean))
        ],
        axis=1,
    )


def pearson(blocks):
    """Correlations of what is pooled: sums of products over all blocks, each about 0."""
    n = blocks[0].shape[1]
    matrix = np.eye(n)
    for i in range(n):
        for j in range(n):
            products = [
                sum(float(block[:, a] @ block[:, b]) for block in blocks) for a, b in ((i, j), (i, i), (j, j))
            ]
            if i != j and products[1] > 0 and products[2] > 0:
                matrix[i, j] = products[0] / np.sqrt(products[1] * products[2])
    return matrix


def precision(correlation, n_cells, shrinkage, judged_by=None):
    """Inverse, regressions (residual of gene j in column j), and variances of residuals in unseen cells."""
    n = len(correlation)
    s = min(0.9, shrinkage + 0.2 * min(1, n / n_cells))
    matrix = np.linalg.inv((1 - s) * correlation + s * np.eye(n))
    regression, left = np.eye(n), np.ones(n)
    seen = correlation if judged_by is None else judged_by
    for j in range(n):
        others = [i for i in range(n) if i != j]
        # ridge regression of gene j on all others
        penalised = (1 - s) * correlation[np.ix_(others, others)] + s * np.eye(n - 1)
        slopes = np.linalg.solve(penalised, (1 - s) * correlation[others, j])
        regression[others, j] = -slopes
        # generalised cross-validation: genes that are related to none do not count as fitted
        hat = (1 - s) * correlation[np.ix_(others, others)] @ np.linalg.inv(penalised)
        related = [(correlation[i] ** 2).sum() > 1 for i in others]
        degrees = np.diag(hat)[related].sum()
        share = max(1 - degrees / n_cells, 0.05)
        left[j] = max(regression[:, j] @ seen @ regression[:, j] / share**2, 1e-4)
    return matrix, regression, left


def partial_correlations(matrix):
    n = len(matrix)
    return np.array(
        [
            [0 if i == j else -matrix[i, j] / np.sqrt(matrix[i, i] * matrix[j, j]) for j in range(n)]
            for i in range(n)
        ]
    )


def unit_rows(weights):
    return np.stack([row / (np.linalg.norm(row) + 0.03) for row in weights])


def off_diagonal(matrix):
    return matrix - np.diag(np.diag(matrix))


def local_fit(standardised, gene, chosen):
    """Ridge regression of a gene on neighbours and their squares; and the share of the cells it leaves."""
    n_cells = len(standardised)
    design = local_design(standardised, chosen)
    # the width of the widest design: genes with fewer neighbours are penalised alike
    width = 1 + 2 * min(8, standardised.shape[1] - 1)
    penalty = np.full(design.shape[1], 0.02 * n_cells + 2 * width)
    penalty[0] = 1e-6 * n_cells
    gram = design.T @ design
    coefficients = np.linalg.solve(gram + np.diag(penalty), design.T @ standardised[:, gene])
    degrees = np.trace(np.linalg.solve(gram + np.diag(penalty), gram))
    return coefficients, max(1 - degrees / n_cells, 0.1)


def local_design(standardised, chosen):
    near = np.clip(standardised[:, chosen], -5, 5)
    return np.hstack([np.ones((len(near), 1)), near, near**2 - 1])


def cells_to_fit(standardised):
    """All, or from 8,000 on every so many in the order of their sums."""
    step = len(standardised) // 4000
    return standardised if step < 2 else standardised[np.argsort(standardised.sum(axis=1))[::step]]


def strongest(strength, gene, number, beyond=0.0):
    """The genes most related to one; of equal ones, where not all have a place, none."""
    others = sorted((j for j in range(len(strength)) if j != gene), key=lambda j: -strength[gene, j])
    last = strength[gene, others[number]] if len(others) > number else -1.0
    return sorted(j for j in others[:number] if strength[gene, j] > max(last, beyond, 0) + 1e-5)


def deconvolve(weights, change):
    """Accelerated proximal gradient: 30 steps on Huber's loss beyond 8, with a penalty of 0.7.

    Steps are as long as convergence allows, less a margin of 5%.
    """
    norm = 1.05 * np.linalg.norm(weights, 2)
    step = 1 / max(norm**2, 1e-6)
    effects = momentum = np.zeros(len(change))
    for iteration in range(30):
        residual = np.clip(change - weights.T @ momentum, -8, 8)
        moved = momentum + step * (weights @ residual)
        new = np.sign(moved) * np.maximum(np.abs(moved) - 0.7 * step, 0)
        momentum = new + iteration / (iteration + 3) * (new - effects)
        effects = new
    return effects, change - weights.T @ effects


class Reading:
    """All inputs of one comparison: `features` and `edges` (gene, gene) by name, `mixing` by name."""

    def __init__(self, control, perturbed, contrasts=None):
        self.x, self.y = control.astype(float), perturbed.astype(float)
        self.n0, self.n1, self.n = len(control), len(perturbed), control.shape[1]
        self.m0, self.m1 = min(self.n0, 2000), min(self.n1, 500)
        self.inverse = 1 / self.m0 + 1 / self.m1
        self.error = np.sqrt(self.inverse)
        self.mean0, self.mean1 = self.x.mean(axis=0), self.y.mean(axis=0)
        self.v0, self.v1 = (np.array([variance(col) for col in arm.T]) for arm in (self.x, self.y))
        self.shift = self.mean1 - self.mean0
        first = np.where(self.v0 > 0, self.v0, self.v1)
        self.spread = np.sqrt(np.where(first > 0, first, 1.0))
        self.z0 = scaled(self.x, self.mean0, self.v0)
        blocks = [self.z0]
        if contrasts is not None:
            blocks.append(scaled(contrasts.astype(float), np.zeros(self.n), self.v0))
        self.n_relations = sum(map(len, blocks))
        self.correlation = pearson(blocks)
        of_control = pearson([self.z0])
        self.precisions = [precision(self.correlation, self.n_relations, s, of_control) for s in SHRINKAGES]
        self.partial = partial_correlations(self.precisions[1][0])
        self.strength = np.maximum(np.abs(self.partial), np.abs(off_diagonal(self.correlation)))
        self.features = self.own()
        self.relations()
        self.features |= self.projections() | self.kept() | self.ties() | self.local() | self.explained()
        self.features |= self.context()
        self.features = {
            name: np.clip(np.broadcast_to(value, self.n), -LIMIT, LIMIT)
            for name, value in self.features.items()
        }
        self.edges = {name: np.clip(value, -LIMIT, LIMIT) for name, value in self.pairs().items()}

    def own(self):
        floor = 1e-3 * self.spread**2 + 1e-12
        v0, v1 = np.maximum(self.v0, floor), np.maximum(self.v1, floor)
        n0, n1 = self.n0, self.n1
        welch = self.shift / np.sqrt(v0 / self.m0 + v1 / self.m1)
        pooled = self.shift / np.sqrt(((n0 - 1) * v0 + (n1 - 1) * v1) / (n0 + n1 - 2) * self.inverse)
        wilcoxon, rise, fall = np.zeros((3, self.n))
        kurtosis, before, after = np.zeros((3, self.n))
        for j in range(self.n):
            a, b = self.x[:, j], self.y[:, j]
            together = np.concatenate([a, b])
            ranks = stats.rankdata(together)
            ties = np.unique(together, return_counts=True)[1]
            total = n0 + n1
            var = n0 * n1 / 12 * (total + 1 - np.sum(ties**3 - ties) / (total * (total - 1)))
            if var > 1e-12:
                wilcoxon[j] = (ranks[n0:].sum() - n1 * (total + 1) / 2) / np.sqrt(var)
            wilcoxon[j] *= np.sqrt((1 / n0 + 1 / n1) / self.inverse)
            below = [np.searchsorted(np.sort(arm), together, side="right") / len(arm) for arm in (a, b)]
            rise[j], fall[j] = max(0, *(below[0] - below[1])), max(0, *(below[1] - below[0]))
            kurtosis[j] = (n0 * excess_kurtosis(a) + n1 * excess_kurtosis(b)) / total
            before[j], after[j] = np.mean(a != 0), np.mean(b != 0)
        log_ratio = np.log(v1 / v0) / np.sqrt((2 + np.clip(kurtosis, -1.5, 30)) * self.inverse)
        rate = (n0 * before + n1 * after) / (n0 + n1)
        detection = (after - before) / np.sqrt(np.maximum(rate * (1 - rate), 1e-4) * self.inverse)
        fold = np.log((np.abs(self.mean1) + 0.02) / (np.abs(self.mean0) + 0.02))
        effect = self.shift / self.spread
        self.change = np.clip((pooled + wilcoxon) / 2, -30, 30)
        self.detected = before
        return {
            "welch_t": squash(welch),
            "pooled_t": squash(pooled),
            "wilcoxon": squash(wilcoxon),
            "ks_rise": squash(rise / self.error),
            "ks_fall": squash(fall / self.error),
            "log_variance_ratio": squash(log_ratio),
            "detection_change": squash(detection),
            "effect_size": squash(effect),
            "log_fold_change": np.clip(fold, -4, 4),
            "control_detection": before,
            "perturbed_detection": after,
            "control_mean": squash(self.mean0),
            "control_variance": np.clip(np.log(v0), -6, 6) / 3,
            "welch_t_rank": rank_feature(np.abs(welch)),
            "wilcoxon_rank": rank_feature(np.abs(wilcoxon)),
            "ks_rank": rank_feature(np.maximum(rise, fall)),
            "variance_rank": rank_feature(np.abs(log_ratio)),
            "effect_rank": rank_feature(np.abs(effect)),
        }

    def residual_variance_law(self, found, expected):
        """Log ratio of the variances of residuals, in standard errors."""
        return np.log((found + 1e-3) / (expected + 1e-3)) / (np.sqrt(2) * self.error)

    def relations(self):
        effect = self.shift / self.spread
        # the perturbed cells, on the scale of the control cells, about their own mean
        deviation = scaled(self.y, self.mean0, self.v0)
        deviation = deviation - deviation.mean(axis=0)
        self.residual, self.residual_variance = [], []
        for _, regression, left in self.precisions:
            unexplained = np.array([effect @ regression[:, j] for j in range(self.n)])
            self.residual.append(np.clip(unexplained / np.sqrt(left) / self.error, -30, 30))
            found = ((deviation @ regression) ** 2).sum(axis=0) / max(self.n1 - 1, 1)
            self.residual_variance.append(self.residual_variance_law(found, left))
        z1 = scaled(self.y, self.mean1, self.v1)
        correlation = pearson([z1])
        matrix, regression, left = precision(correlation, self.n1, SHRINKAGES[-1])
        unexplained = effect @ regression / (np.sqrt(left) * self.error)
        self.perturbed_residual = np.clip(unexplained, -30, 30)
        root = np.sqrt(self.m1)
        self.matched = partial_correlations(self.precisions[-1][0])
        self.correlation_change = (correlation - self.correlation) * root
        self.partial_change = (partial_correlations(matrix) - self.matched) * root

    def projections(self):
        others = off_diagonal(self.correlation)
        self.mixing = {
            "correlation": unit_rows(others),
            "squared_correlation": unit_rows(others * np.abs(others)),
            "partial": unit_rows(self.partial),
        }
        by, residual, var = self.mixing, self.residual, self.residual_variance
        raw = {
            "correlation_projection": by["correlation"] @ self.change,
            "squared_correlation_projection": by["squared_correlation"] @ self.change,
            "partial_projection": by["partial"] @ self.change,
            "effect_projection": unit_rows(self.partial * np.abs(self.partial)) @ self.change,
            "residual_projection": by["partial"] @ residual[1],
            "residual_correlation_projection": by["correlation"] @ residual[0],
            "residual_0": residual[0],
            "residual_1": residual[1],
            "residual_2": residual[2],
            "residual_variance_0": var[0],
            "residual_variance_1": var[1],
            "residual_variance_2": var[2],
            "predicted_change": self.change - residual[1],
            "perturbed_residual": self.perturbed_residual,
        }
        ranked = ("correlation_projection", "partial_projection", "residual_projection", "residual_0")
        ranks = {f"{name}_rank": rank_feature(np.abs(raw[name])) for name in (*ranked, "residual_1")}
        ranks["residual_variance_rank"] = rank_feature(np.abs(var[0]))
        return {name: squash(value) for name, value in raw.items()} | ranks

    def kept(self):
        def slope(weights, difference):
            return np.array(
                [w @ d / (np.linalg.norm(w) + 0.1) for w, d in zip(weights, difference, strict=True)]
            )

        partial_kept = slope(self.matched, self.partial_change)
        return {
            "correlation_kept": squash(slope(off_diagonal(self.correlation), self.correlation_change)),
            "partial_kept": squash(partial_kept),
            # relations that shrank most come first
            "partial_kept_rank": rank_feature(-partial_kept),
            "correlation_changed": np.log(1 + (self.correlation_change**2).sum(axis=1) / self.n),
            "partial_changed": np.log(1 + (self.partial_change**2).sum(axis=1) / self.n),
        }

    def ties(self):
        energy = self.change**2
        return {
            "correlation_strength": np.log(
                1 + self.m0 * (off_diagonal(self.correlation) ** 2).sum(axis=1) / self.n
            ),
            "partial_strength": np.log(1 + self.m0 * (self.partial**2).sum(axis=1) / self.n),
            "correlation_energy": np.log(1 + self.mixing["correlation"] ** 2 @ energy),
            "partial_energy": np.log(1 + self.mixing["partial"] ** 2 @ energy),
            "predictability": np.log(np.diag(self.precisions[1][0])),
        }

    def local(self):
        some = cells_to_fit(self.z0)
        z1 = scaled(self.y, self.mean0, self.v0)
        # as strong as chance alone makes the strongest of so many
        chance = np.sqrt(2 * np.log(max(self.n, 2)) / self.n_relations)
        residual, log_ratio = np.zeros((2, self.n))
        for j in range(self.n):
            chosen = strongest(self.strength, j, 8, chance)
            coefficients, share = local_fit(some, j, chosen)
            before, after = (z[:, j] - local_design(z, chosen) @ coefficients for z in (some, z1))
            base = max(before.var() / share**2, 1e-4)
            residual[j] = np.clip((after.mean() - before.mean()) / np.sqrt(base) / self.error, -50, 50)
            log_ratio[j] = self.residual_variance_law(after.var(), base)
        return {
            "local_residual": squash(residual),
            "local_variance": squash(log_ratio),
            "local_variance_rank": rank_feature(np.abs(log_ratio)),
        }

    def explained(self):
        sparse = off_diagonal(self.correlation)
        sparse = np.sign(sparse) * np.maximum(np.abs(sparse) - 2 / np.sqrt(self.n_relations), 0)
        sparse = np.stack([row / max(np.linalg.norm(row), 0.02) for row in sparse])
        effects, unexplained = deconvolve(sparse, self.change)
        number = min(5, self.n // 8)
        values, vectors = np.linalg.eigh(self.correlation)
        # the leading directions are lowered to the first that stays
        level = max(values[-1 - number], 0)
        lowered = values.copy()
        lowered[self.n - number :] = np.minimum(lowered[self.n - number :], level)
        left = vectors @ np.diag(lowered) @ vectors.T
        kept = np.where(values > 0, lowered / np.where(values > 0, values, 1), 1)
        free = unit_rows(off_diagonal(left)) @ (vectors @ np.diag(kept) @ vectors.T @ self.change)
        if number == 0:
            free = np.zeros(self.n)
        projection = sparse @ self.change
        return {
            "sparse_projection": squash(projection),
            "programme_free_projection": squash(free),
            "deconvolved": squash(effects),
            "unexplained_change": squash(unexplained),
            "sparse_projection_rank": rank_feature(np.abs(projection)),
            "programme_free_projection_rank": rank_feature(np.abs(free)),
            "deconvolved_rank": rank_feature(np.abs(effects)),
        }

    def context(self):
        return {
            "log_control_cells": np.log10(self.m0) - 3,
            "log_all_control_cells": np.log10(min(self.n_relations, 20000)) - 3,
            "log_perturbed_cells": np.log10(self.m1) - 2,
            "log_genes": np.log10(self.n) - 2,
            "overall_change": np.log(1 + np.mean(self.change**2)),
            "has_zeros": float(self.detected.mean() < 0.999),
            "others_known": 1.0,
        }

    def pairs(self):
        """Of gene i (row) and its neighbour j (column)."""
        regression = self.precisions[1][1]
        return {
            "partial": 4 * self.partial,
            "correlation": 2 * self.correlation,
            "partial_change": squash(self.partial_change),
            "correlation_change": squash(self.correlation_change),
            # slopes of i on j, and of j on i
            "regression_on": -2 * regression.T,
            "regression_of": -2 * regression,
            "neighbour_change": np.tile(squash(self.change), (self.n, 1)),
            "neighbour_residual": np.tile(squash(self.residual[1]), (self.n, 1)),
        }
