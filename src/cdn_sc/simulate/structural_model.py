"""Structural causal models over random graphs, and interventions on them.

Random Erdos-Renyi graphs, the mechanisms of DCDI (Brouillard et al., NeurIPS 2020, appendix on synthetic
data) and CAM (Buhlmann, Peters and Ernest, Annals of Statistics 2014, section on simulations), and hard
and soft interventions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MECHANISMS = ("linear", "polynomial", "sigmoid_add")
"""Mechanisms of the published test set, which training may draw from."""

UNTRAINED_MECHANISM = "neural_network"
"""Non-additive mechanism (noise is an input of a small network) that training never draws."""

INTERVENTIONS = ("structural_normal", "structural_uniform", "soft_scale", "soft_shift")
"""Two hard interventions (parents cut, value drawn anew) and two soft ones (parents kept)."""

HIDDEN_UNITS = 20  # of the neural network mechanism, as in DCDI
CALIBRATION_CELLS = 512


@dataclass(frozen=True)
class SCMParameters:
    """Strengths from which structural causal models and their interventions are drawn.

    All draws are uniform over the ranges unless said otherwise; signs are drawn with even odds. Values are
    in units of a mechanism's own standard deviation in the observational regime, because each mechanism's
    output is divided by it.

    Parameters
    ----------
    weight
        Absolute weight of an edge, linear mechanism. DCDI: 0.25 to 1.
    sigmoid_slope, sigmoid_centre
        Absolute slope b and centre c of the sigmoid a b (x + c) / (1 + abs(b (x + c))) of one edge; the
        height a is 1 plus an exponential draw of mean 1/4. CAM: 0.5 to 2 and -2 to 2.
    polynomial
        Coefficients of x and x^2 of one edge. DCDI draws them from 0 to 1; here they take either sign.
    noise_scale, noise_variance
        Noise is `noise_scale` times a normal draw whose variance lies in the range. DCDI: 0.4 and 1 to 2.
    normal_mean
        Absolute mean of the value a `structural_normal` target takes, with unit variance. DCDI's
        generator offers means 0 (its default) and 2 (its paper); this is the range between.
    uniform_width
        Half the width of the value, centred on 0, that a `structural_uniform` target takes. DCDI: 1, which
        a variance ratio always finds; here from weak to strong, with a variance that can equal the old one.
    scale
        Factor of `soft_scale`, drawn log-uniformly, or its inverse with even odds; noise is not scaled.
        Not published: from weak to strong. With about 3,000 cells an arm the strength matters little;
        Kolmogorov-Smirnov has a mean average precision of 0.91 on scm240 with these ranges, and 0.89 on
        its first data sets with a shift of 0.1 to 1, a scale of 1.1 to 2 and a normal mean of 0 to 1.
    shift
        Absolute constant of `soft_shift`. Not published.
    bound
        Standardised outputs of nonlinear mechanisms are clipped to plus or minus this, so that
        polynomials stay finite under intervention. DCDI clips each parent's contribution to 1.
    smallest_scale
        The divisor of a mechanism's output is never below this: an edge on the flat part of a sigmoid
        stays weak.
    """

    weight: tuple[float, float] = (0.25, 1.0)
    sigmoid_slope: tuple[float, float] = (0.5, 2.0)
    sigmoid_centre: tuple[float, float] = (-2.0, 2.0)
    polynomial: tuple[float, float] = (-1.0, 1.0)
    noise_scale: float = 0.4
    noise_variance: tuple[float, float] = (1.0, 2.0)
    normal_mean: tuple[float, float] = (0.0, 2.0)
    uniform_width: tuple[float, float] = (0.5, 2.0)
    scale: tuple[float, float] = (1.25, 4.0)
    shift: tuple[float, float] = (0.25, 2.0)
    bound: float = 5.0
    smallest_scale: float = 0.25


class _Gene(NamedTuple):
    """How one gene's value follows from its parents; `parents` is empty for a source."""

    parents: np.ndarray
    coefficients: tuple[np.ndarray, ...]
    noise: float


class Intervention(NamedTuple):
    """Genes that are hit together, in one regime, and how strongly.

    Parameters
    ----------
    kind
        One of `INTERVENTIONS`.
    strengths
        Target gene -> mean of the new value (`structural_normal`), half-width of the new value
        (`structural_uniform`), factor (`soft_scale`) or constant (`soft_shift`).
    """

    kind: str
    strengths: dict[int, float]


@dataclass(frozen=True)
class StructuralModel:
    """A random structural causal model over a directed acyclic graph.

    The value of a source is standard normal. Any other gene's value is f(parents) + noise, or
    f(parents, noise) for `neural_network`, where f is divided by its standard deviation, and its mean
    limited to two of them, as measured once in an observational draw of 512 cells: data keep their raw
    values, but neither spread nor location grows along the causal order.

    Parameters
    ----------
    mechanism
        One of `MECHANISMS` or `UNTRAINED_MECHANISM`.
    graph
        Genes x genes, true at [i, j] for an edge i -> j.
    order
        Genes, causes before effects.
    genes
        Each gene's parents, coefficients and noise.
    centres, scales
        Of each gene's mechanism: subtracted from its output, then divided by.
    bound
        See `SCMParameters`.
    """

    mechanism: str
    graph: np.ndarray
    order: np.ndarray
    genes: tuple[_Gene, ...]
    centres: np.ndarray
    scales: np.ndarray
    bound: float

    def sample(
        self, n_cells: int, rng: np.random.Generator, intervention: Intervention | None = None
    ) -> np.ndarray:
        """Draw cells from the observational regime or under an intervention.

        Parameters
        ----------
        n_cells
            Number of cells.
        rng
            Source of randomness.
        intervention
            What is done to which genes; None for the observational regime.

        Returns
        -------
        Values, cells x genes, float32.
        """
        noise = rng.standard_normal((len(self.genes), n_cells), dtype=np.float32)
        values = np.empty_like(noise)
        strengths = intervention.strengths if intervention else {}
        kind = intervention.kind if intervention else ""
        for j in self.order:
            strength = strengths.get(int(j))
            if strength is None:
                values[j] = self._value(j, values, noise[j])
            elif kind == "structural_normal":
                values[j] = noise[j] + strength
            elif kind == "structural_uniform":
                values[j] = rng.uniform(-strength, strength, n_cells)
            elif kind == "soft_scale":
                values[j] = self._value(j, values, noise[j], factor=strength)
            elif kind == "soft_shift":
                values[j] = self._value(j, values, noise[j]) + strength
            else:
                raise ValueError(f"unknown intervention {kind!r}; known: {', '.join(INTERVENTIONS)}")
        return np.ascontiguousarray(values.T)

    def _value(self, j: int, values: np.ndarray, noise: np.ndarray, factor: float = 1.0) -> np.ndarray:
        gene = self.genes[j]
        if not gene.parents.size:
            return np.float32(factor) * noise
        noise = np.float32(gene.noise) * noise
        output = _mechanism_output(self.mechanism, gene, values[gene.parents], noise)
        output -= self.centres[j]
        output *= np.float32(factor) / self.scales[j]
        if self.mechanism != "linear":
            limit = self.bound * max(factor, 1.0)
            np.clip(output, -limit, limit, out=output)
        if self.mechanism != UNTRAINED_MECHANISM:
            output += noise
        return output


def _mechanism_output(mechanism: str, gene: _Gene, parents: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Raw output of a mechanism for parents x cells, before it is standardised."""
    if mechanism == "linear":
        (weights,) = gene.coefficients
        return weights @ parents
    if mechanism == "polynomial":
        linear, quadratic = gene.coefficients
        return linear @ parents + quadratic @ (parents * parents)
    if mechanism == "sigmoid_add":
        height, slope, centre = gene.coefficients
        steep = slope[:, None] * (parents + centre[:, None])
        return height @ (steep / (1 + np.abs(steep)))
    inner, outer = gene.coefficients
    return outer @ np.tanh(inner[:, :-1] @ parents + inner[:, -1:] * noise)


def random_graph(n_genes: int, n_edges: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an Erdos-Renyi directed acyclic graph.

    Parameters
    ----------
    n_genes
        Number of genes.
    n_edges
        Expected number of edges; every pair of genes is joined with the same probability.
    rng
        Source of randomness.

    Returns
    -------
    The graph, genes x genes, true at [i, j] for an edge i -> j, and the genes in causal order.
    """
    probability = min(1.0, 2 * n_edges / (n_genes * (n_genes - 1)))
    order = rng.permutation(n_genes)
    graph = np.zeros((n_genes, n_genes), dtype=bool)
    graph[np.ix_(order, order)] = np.triu(rng.random((n_genes, n_genes)) < probability, k=1)
    return graph, order


def _signed(rng: np.random.Generator, limits: tuple[float, float], size: int) -> np.ndarray:
    return rng.uniform(*limits, size) * rng.choice((-1.0, 1.0), size)


def _coefficients(
    mechanism: str, n_parents: int, parameters: SCMParameters, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    drawn: tuple[np.ndarray, ...]
    if mechanism == "linear":
        drawn = (_signed(rng, parameters.weight, n_parents),)
    elif mechanism == "polynomial":
        drawn = tuple(rng.uniform(*parameters.polynomial, (2, n_parents)))
    elif mechanism == "sigmoid_add":
        drawn = (
            1 + rng.exponential(0.25, n_parents),
            _signed(rng, parameters.sigmoid_slope, n_parents),
            rng.uniform(*parameters.sigmoid_centre, n_parents),
        )
    elif mechanism == UNTRAINED_MECHANISM:
        drawn = (rng.standard_normal((HIDDEN_UNITS, n_parents + 1)), rng.standard_normal(HIDDEN_UNITS))
    else:
        known = ", ".join((*MECHANISMS, UNTRAINED_MECHANISM))
        raise ValueError(f"unknown mechanism {mechanism!r}; known: {known}")
    return tuple(array.astype(np.float32) for array in drawn)


def structural_model(
    n_genes: int,
    n_edges: float,
    mechanism: str,
    rng: np.random.Generator,
    parameters: SCMParameters | None = None,
) -> StructuralModel:
    """Draw a structural causal model and calibrate it on an observational draw.

    Parameters
    ----------
    n_genes
        Number of genes, at least 2.
    n_edges
        Expected number of edges.
    mechanism
        One of `MECHANISMS` or `UNTRAINED_MECHANISM`.
    rng
        Source of randomness.
    parameters
        Strengths to draw from; the defaults where None.

    Raises
    ------
    ValueError
        If the mechanism is unknown.
    """
    parameters = parameters or SCMParameters()
    graph, order = random_graph(n_genes, n_edges, rng)
    noise = parameters.noise_scale * np.sqrt(rng.uniform(*parameters.noise_variance, n_genes))
    genes = []
    for j in range(n_genes):
        parents = np.flatnonzero(graph[:, j])
        genes.append(_Gene(parents, _coefficients(mechanism, parents.size, parameters, rng), noise[j]))
    centres, scales = np.zeros(n_genes, np.float32), np.ones(n_genes, np.float32)
    model = StructuralModel(mechanism, graph, order, tuple(genes), centres, scales, parameters.bound)

    noises = rng.standard_normal((n_genes, CALIBRATION_CELLS), dtype=np.float32)
    values = np.empty_like(noises)
    for j in order:
        gene = genes[j]
        if gene.parents.size:
            output = _mechanism_output(
                mechanism, gene, values[gene.parents], np.float32(gene.noise) * noises[j]
            )
            mean, scales[j] = output.mean(), max(output.std(), parameters.smallest_scale)
            centres[j] = mean - np.clip(mean, -2 * scales[j], 2 * scales[j])
        values[j] = model._value(j, values, noises[j])
    return model


def draw_intervention(
    kind: str,
    targets: Sequence[int] | np.ndarray,
    rng: np.random.Generator,
    parameters: SCMParameters | None = None,
) -> Intervention:
    """Draw how strongly an intervention hits each of its targets.

    Parameters
    ----------
    kind
        One of `INTERVENTIONS`.
    targets
        Indices of the genes.
    rng
        Source of randomness.
    parameters
        Strengths to draw from; the defaults where None.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    parameters = parameters or SCMParameters()
    n_targets = len(targets)
    if kind == "structural_normal":
        strengths = _signed(rng, parameters.normal_mean, n_targets)
    elif kind == "structural_uniform":
        strengths = rng.uniform(*parameters.uniform_width, n_targets)
    elif kind == "soft_scale":
        log_low, log_high = np.log(parameters.scale)
        strengths = np.exp(_signed(rng, (log_low, log_high), n_targets))
    elif kind == "soft_shift":
        strengths = _signed(rng, parameters.shift, n_targets)
    else:
        raise ValueError(f"unknown intervention {kind!r}; known: {', '.join(INTERVENTIONS)}")
    return Intervention(
        kind, {int(gene): float(strength) for gene, strength in zip(targets, strengths, strict=True)}
    )
