"""Every input of the gene transformer as its definition reads, in plain loops over genes: slow, independent.

Written from the descriptions in the docstrings and the page "Features"; numpy and scipy only, float64.
"""

import numpy as np
from scipy import optimize, special, stats

SHRINKAGES = (0.02, 0.15)
LIMIT = 12


def squash(z):
    return np.sign(z) * np.log(1 + np.abs(z))


def rank_feature(magnitude):
    """Of ranks from 1: a place behind every greater gene, half a place behind every one equal to it.

    Equal means: but for rounding in single precision.
    """
    ranks = np.ones(len(magnitude))
    for gene, own in enumerate(magnitude):
        within = 3e-5 * max(abs(own), 1)
        for other, value in enumerate(magnitude):
            if other != gene and value >= own - within:
                ranks[gene] += 1.0 if value > own + within else 0.5
    return -np.log2(ranks) / 4


def moderated(variances, degrees, varies):
    """Variances drawn towards the usual one, by the moments of their logarithms (Smyth 2004, 6.2)."""
    if varies.sum() <= 2:
        return variances
    logs = np.log(variances[varies]) - special.digamma(degrees / 2) + np.log(degrees / 2)
    beyond = max(logs.var(ddof=1) - special.polygamma(1, degrees / 2), 1e-6)
    half = optimize.brentq(lambda x: special.polygamma(1, x) - beyond, 1e-3, 2e6)
    usual = np.exp(logs.mean() + special.digamma(half) - np.log(half))
    return np.where(varies, (2 * half * usual + degrees * variances) / (2 * half + degrees), variances)


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


def precision(correlation, n_cells, shrinkage):
    """Inverse, regressions (residual of gene j in column j), and variances of residuals in unseen cells."""
    n = len(correlation)
    s = min(0.9, shrinkage + 0.2 * min(1, n / n_cells))
    matrix = np.linalg.inv((1 - s) * correlation + s * np.eye(n))
    regression, left = np.eye(n), np.ones(n)
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
        left[j] = max(regression[:, j] @ correlation @ regression[:, j] / share**2, 1e-4)
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


def local_fit(standardised, gene, chosen, number, squares):
    """Ridge regression of a gene on neighbours, and on their squares; and the share of the cells it leaves.

    `number` is that of the neighbours a gene may have: genes with fewer are penalised alike.
    """
    n_cells = len(standardised)
    design = local_design(standardised, chosen, squares)
    width = 1 + (1 + squares) * min(number, standardised.shape[1] - 1)
    penalty = np.full(design.shape[1], 0.02 * n_cells + 2 * width)
    penalty[0] = 1e-6 * n_cells
    gram = design.T @ design
    coefficients = np.linalg.solve(gram + np.diag(penalty), design.T @ standardised[:, gene])
    degrees = np.trace(np.linalg.solve(gram + np.diag(penalty), gram))
    return coefficients, max(1 - degrees / n_cells, 0.1)


def local_design(standardised, chosen, squares):
    near = np.clip(standardised[:, chosen], -5, 5)
    columns = [np.ones((len(near), 1)), near]
    return np.hstack([*columns, near**2 - 1] if squares else columns)


def cells_to_fit(standardised):
    """All, or from 8,000 on every so many in the order of their sums."""
    step = len(standardised) // 4000
    return standardised if step < 2 else standardised[np.argsort(standardised.sum(axis=1))[::step]]


def strongest(strength, gene, number, beyond=0.0):
    """The genes most related to one; of equal ones, where not all have a place, none."""
    others = sorted((j for j in range(len(strength)) if j != gene), key=lambda j: -strength[gene, j])
    last = strength[gene, others[number]] if len(others) > number else -1.0
    return sorted(j for j in others[:number] if strength[gene, j] > max(last, beyond, 0) + 1e-5)


def deconvolve(weights, change, norm=None):
    """Accelerated proximal gradient: 15 steps on Huber's loss beyond 8, with a penalty of 0.7.

    Steps are as long as convergence allows, less a margin of 5%.
    """
    norm = 1.05 * np.linalg.norm(weights, 2) if norm is None else norm
    step = 1 / max(norm**2, 1e-6)
    effects = momentum = np.zeros(len(change))
    for iteration in range(15):
        residual = np.clip(change - weights.T @ momentum, -8, 8)
        moved = momentum + step * (weights @ residual)
        new = np.sign(moved) * np.maximum(np.abs(moved) - 0.7 * step, 0)
        momentum = new + iteration / (iteration + 3) * (new - effects)
        effects = new
    return effects, change - weights.T @ effects


class Reading:
    """All inputs of one comparison: `features` and `edges` (gene, gene) by name, and the `neighbours`."""

    def __init__(self, control, perturbed, contrasts=None, relations=None):
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
        self.z0, self.z1 = (scaled(arm, self.mean0, self.v0) for arm in (self.x, self.y))
        blocks = [self.z0]
        if contrasts is not None:
            blocks.append(scaled(contrasts.astype(float), np.zeros(self.n), self.v0))
        self.n_relations = sum(map(len, blocks))
        self.correlation = pearson(blocks)
        self.precisions = [precision(self.correlation, self.n_relations, s) for s in SHRINKAGES]
        self.partial = partial_correlations(self.precisions[1][0])
        self.strength = np.maximum(np.abs(self.partial), np.abs(off_diagonal(self.correlation)))
        self.neighbours = [strongest(self.strength, gene, 16) for gene in range(self.n)]
        self.features = self.own() | self.regressions()
        self.relations()
        self.features |= self.projections() | self.residuals() | self.changed() | self.ties()
        self.features |= self.explained() | self.context() | self.known(relations)
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
        pooled = ((n0 - 1) * v0 + (n1 - 1) * v1) / (n0 + n1 - 2)
        drawn = moderated(pooled, n0 + n1 - 2, (self.v0 > 0) | (self.v1 > 0))
        t = self.shift / np.sqrt(drawn * self.inverse)
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
        # of few cells the rank test says little: it counts half where there are many
        of_ranks = self.m1 / (self.m1 + 10) / 2
        self.change = np.clip((1 - of_ranks) * t + of_ranks * wilcoxon, -30, 30)
        self.detected = before
        return {
            "welch_t": squash(welch),
            "moderated_t": squash(t),
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
            "moderated_t_rank": rank_feature(np.abs(t)),
            "wilcoxon_rank": rank_feature(np.abs(wilcoxon)),
            "fold_rank": rank_feature(np.abs(fold)),
            "ks_rank": rank_feature(np.maximum(rise, fall)),
            "variance_rank": rank_feature(np.abs(log_ratio)),
            "effect_rank": rank_feature(np.abs(effect)),
        }

    def regressions(self):
        """On few neighbours: what they leave in the group, beside what they leave in unseen control cells."""
        some = cells_to_fit(self.z0)
        # as strong as chance alone makes the strongest of so many
        chance = np.sqrt(2 * np.log(max(self.n, 2)) / self.n_relations)
        features = {}
        for name, number, squares in (("quadratic", 8, True), ("linear", 16, False)):
            residual, log_ratio, base = np.zeros((3, self.n))
            left = np.zeros((self.n1, self.n))
            told, told_before = np.zeros((self.n1, self.n)), np.zeros(self.n)
            for j in range(self.n):
                chosen = strongest(self.strength, j, number, chance)
                coefficients, share = local_fit(some, j, chosen, number, squares)
                before, after = (
                    z[:, j] - local_design(z, chosen, squares) @ coefficients for z in (some, self.z1)
                )
                base[j] = max(before.var() / share**2, 1e-4)
                change = (after.mean() - before.mean()) / np.sqrt(base[j]) / self.error
                residual[j] = np.clip(change, -50, 50)
                log_ratio[j] = np.log((after.var() + 1e-3) / (base[j] + 1e-3)) / (np.sqrt(2) * self.error)
                left[:, j] = after
                told[:, j] = self.z1[:, j] - after
                told_before[j] = (some[:, j] - before).var()
            features |= {
                f"{name}_residual": squash(residual),
                f"{name}_variance": squash(log_ratio),
                f"{name}_variance_rank": rank_feature(np.abs(log_ratio)),
            }
        # those of the linear regressions, whose covariances with the neighbours are read too
        self.left, self.left_variance = left, base
        # what the neighbours tell of each gene: how it moved, and how much it varies
        moved = np.clip(told.mean(axis=0) / np.sqrt(told_before + 0.03) / self.error, -50, 50)
        varies = np.log((told.var(axis=0) + 0.03) / (told_before + 0.03)) / (np.sqrt(2) * self.error)
        return features | {
            "fitted_shift": squash(moved),
            "fitted_variance": squash(varies),
            "fitted_shift_rank": rank_feature(np.abs(moved)),
            # those that vary less come first
            "fitted_variance_rank": rank_feature(-varies),
        }

    def relations(self):
        effect = self.shift / self.spread
        self.residual = [
            np.clip(
                np.array([effect @ column for column in regression.T]) / np.sqrt(left) / self.error, -30, 30
            )
            for _, regression, left in self.precisions
        ]
        root = np.sqrt(self.m1)
        ratio = np.array([b / a if a > 0 else 1.0 for a, b in zip(self.v0, self.v1, strict=True)])
        ratio = np.clip(ratio, 0.05, 20)
        self.correlation_change, self.regression_change, self.reverse_change = np.zeros((3, self.n, self.n))
        of_group = pearson([scaled(self.y, self.mean1, np.where(self.v0 > 0, self.v1, 0))])
        for i in range(self.n):
            for j in self.neighbours[i]:
                self.correlation_change[i, j] = (of_group[i, j] - self.correlation[i, j]) * root
                for table, a, b in ((self.regression_change, i, j), (self.reverse_change, j, i)):
                    # of the residual of gene a with gene b
                    covariance = np.cov(self.left[:, a], self.z1[:, b])[0, 1]
                    error = np.sqrt(self.left_variance[a] * ratio[b]) / root
                    table[i, j] = np.clip(covariance / error, -50, 50)

    def projections(self):
        others, change = off_diagonal(self.correlation), self.change
        by_correlation, by_partial = unit_rows(others), unit_rows(self.partial)
        raw = {
            "correlation_projection": by_correlation @ change,
            "squared_correlation_projection": unit_rows(others * np.abs(others)) @ change,
            "partial_projection": by_partial @ change,
            "effect_projection": unit_rows(self.partial * np.abs(self.partial)) @ change,
            "residual_projection": by_partial @ self.residual[1],
            "residual_correlation_projection": by_correlation @ self.residual[0],
        }
        ranked = ("correlation_projection", "partial_projection", "residual_projection")
        return {
            **{name: squash(value) for name, value in raw.items()},
            **{f"{name}_rank": rank_feature(np.abs(raw[name])) for name in ranked},
            "correlation_energy": np.log(1 + by_correlation**2 @ change**2),
            "partial_energy": np.log(1 + by_partial**2 @ change**2),
        }

    def residuals(self):
        features = {"predicted_change": squash(self.change - self.residual[1])}
        for number, residual in enumerate(self.residual):
            features[f"residual_{number}"] = squash(residual)
            features[f"residual_{number}_rank"] = rank_feature(np.abs(residual))
        return features

    def changed(self):
        """Sums over the neighbours alone: elsewhere the tables of changes are 0."""

        def slope(weights, difference):
            found = np.zeros(self.n)
            for gene, near in enumerate(self.neighbours):
                w, d = weights[gene, near], difference[gene, near]
                found[gene] = w @ d / (np.linalg.norm(w) + 0.1)
            return found

        def mean_square(difference):
            number = np.array([max(len(near), 1) for near in self.neighbours])
            return np.log(1 + (difference**2).sum(axis=1) / number)

        kept = slope(self.correlation, self.correlation_change)
        regression_kept = slope(self.partial, self.regression_change)
        return {
            "correlation_kept": squash(kept),
            "regression_kept": squash(regression_kept),
            # relations that shrank most come first
            "correlation_kept_rank": rank_feature(-kept),
            "regression_kept_rank": rank_feature(-regression_kept),
            "correlation_changed": mean_square(self.correlation_change),
            "regression_changed": mean_square(self.regression_change),
            "reverse_changed": mean_square(self.reverse_change),
        }

    def ties(self):
        def strength(matrix):
            return np.log(1 + self.m0 * (matrix**2).sum(axis=1) / self.n)

        return {
            "correlation_strength": strength(off_diagonal(self.correlation)),
            "partial_strength": strength(self.partial),
            "predictability": np.log(np.diag(self.precisions[1][0])),
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
        self.free_change = vectors @ np.diag(kept) @ vectors.T @ self.change
        free = unit_rows(off_diagonal(left)) @ self.free_change
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
        }

    def known(self, relations):
        """What a table of relations says: (source, target) -> weight, NaN for an unknown sign."""
        names = (
            "known_projection", "known_residual_projection", "known_free_projection",
            "known_supported_projection", "known_energy", "known_deconvolved", "known_regulators",
            "known_agreement", "known_share_agreeing", "n_known_targets", "n_known_sources",
            "relations_given", "known_projection_rank", "known_free_projection_rank",
            "known_supported_projection_rank", "known_deconvolved_rank",
        )  # fmt: skip
        self.signs = np.zeros((self.n, self.n))
        if relations is None:
            return dict.fromkeys(names, 0.0)
        observed = np.where(np.abs(self.correlation) < 1e-5, 0, self.correlation)
        weights, there = np.zeros((self.n, self.n)), np.zeros((self.n, self.n), dtype=bool)
        for source in range(self.n):
            of_gene = {target: w for (gene, target), w in relations.items() if gene == source}
            known = [abs(w) for w in of_gene.values() if not np.isnan(w)]
            for target, w in of_gene.items():
                there[source, target] = True
                if np.isnan(w):
                    weights[source, target] = np.sign(observed[source, target])
                else:
                    weights[source, target] = np.sign(w) * min(abs(w) / np.median(known), 4)
        agreeing = weights * np.where(weights * observed > 0, np.abs(observed), 0)
        rows, supported = (
            np.stack([row / max(np.linalg.norm(row), least) for row in matrix])
            for matrix, least in ((weights, 1e-6), (agreeing, 0.05))
        )
        self.signs = np.sign(rows)
        # a bound of the singular value from power iteration, which the steps' length follows
        vector = np.ones(self.n)
        for _ in range(12):
            vector = rows.T @ (rows @ (vector / max(np.linalg.norm(vector), 1e-9)))
        norm = max(1, 1.05 * np.sqrt(np.linalg.norm(vector)))
        effects, _ = deconvolve(rows, self.change, norm)
        agreement = (rows * observed).sum(axis=1)
        projection, free = rows @ self.change, rows @ self.free_change
        borne_out = supported @ self.free_change
        return {
            "known_projection": squash(projection),
            "known_residual_projection": squash(rows @ self.residual[1]),
            "known_free_projection": squash(free),
            "known_supported_projection": squash(borne_out),
            "known_energy": np.log(1 + rows**2 @ self.change**2),
            "known_deconvolved": squash(effects),
            "known_regulators": squash(rows.T @ self.change),
            "known_agreement": squash(agreement * np.sqrt(self.n_relations)),
            "known_share_agreeing": agreement / np.maximum(np.sqrt((there * observed**2).sum(axis=1)), 0.02),
            "n_known_targets": np.log(1 + there.sum(axis=1)) / 2,
            "n_known_sources": np.log(1 + there.sum(axis=0)) / 2,
            "relations_given": 1.0,
            "known_projection_rank": rank_feature(np.abs(projection)),
            "known_free_projection_rank": rank_feature(np.abs(free)),
            "known_supported_projection_rank": rank_feature(np.abs(borne_out)),
            "known_deconvolved_rank": rank_feature(np.abs(effects)),
        }

    def pairs(self):
        """Of gene i (row) and its neighbour j (column)."""
        regression = self.precisions[1][1]
        return {
            "partial": 4 * self.partial,
            "correlation": 2 * self.correlation,
            # slopes of i on j, and of j on i
            "regression_on": -2 * regression.T,
            "regression_of": -2 * regression,
            "correlation_change": squash(self.correlation_change),
            "regression_change": squash(self.regression_change),
            "reverse_change": squash(self.reverse_change),
            "neighbour_change": np.tile(squash(self.change), (self.n, 1)),
            "neighbour_residual": np.tile(squash(self.residual[1]), (self.n, 1)),
            "known_target": self.signs,
            "known_source": self.signs.T,
        }
