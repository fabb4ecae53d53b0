"""The published networks: SEA (encoder and graph head) and CDN (two arms encoded, then compared)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cdn_sc.nn.axial import AxialLayer
from cdn_sc.nn.batch import ArmBatch, CDNBatch, gene_mask
from cdn_sc.nn.comparison import compare_codes, join_arms
from cdn_sc.nn.config import CDNConfig, SEAConfig
from cdn_sc.nn.encoder import MLP, Encoder

GRAPH_CLASSES = 3


class SEA(nn.Module):
    """Encoder of one arm with a head for its causal graph.

    Parameters
    ----------
    config
        Sizes.

    Notes
    -----
    Source: Wu et al. 2024 (Sample, estimate, aggregate). It scores no targets; its weights start the
    training of a `CDN`, whose parameters of the same names are the same.
    """

    def __init__(self, config: SEAConfig) -> None:
        super().__init__()
        self.config = config
        d = config.channels
        self.encoder = Encoder(config)
        self.top_layer = MLP(2 * d, 2 * d, GRAPH_CLASSES) if config.graph_head else None

    def encode_arm(self, arm: ArmBatch) -> Tensor:
        """Code of every gene pair of an arm, to be used again wherever the arm is.

        Parameters
        ----------
        arm
            B arms.

        Returns
        -------
        (B, N, N, d); entries of padded genes are meaningless.

        Raises
        ------
        ValueError
            If there are more genes or subsets than the network knows, or permutations of another length.
        """
        return self.encoder(arm)

    def graph_logits(self, code: Tensor) -> Tensor:
        """Logits of the causal relation of each gene pair i < j.

        Parameters
        ----------
        code
            Code of an arm (the control arm's in training), (B, N, N, d).

        Returns
        -------
        (B, N, N, 3): no edge, i -> j, j -> i; to be read at [i, j] with i < j.

        Raises
        ------
        ValueError
            If the network has no graph head.

        Notes
        -----
        Source: Wu et al. 2025 (arXiv 2410.03380), section 3 (auxiliary graph loss).
        """
        if self.top_layer is None:
            raise ValueError("this network has no graph head (config.graph_head is False)")
        return self.top_layer(torch.cat([code, code.transpose(1, 2)], dim=-1))

    def forward(self, arm: ArmBatch) -> Tensor:
        """Graph logits of B arms (see `graph_logits`)."""
        return self.graph_logits(self.encode_arm(arm))


class CDN(SEA):
    """Causal differential network: which genes were targeted, from control and perturbed cells.

    Parameters
    ----------
    config
        Sizes and form.

    Notes
    -----
    Source: Wu et al. 2025 (arXiv 2410.03380), section 3. Parameter names are those of the published
    weights. Without gradients and in eval mode memory beyond the codes is bounded.
    """

    config: CDNConfig

    def __init__(self, config: CDNConfig) -> None:
        super().__init__(config)
        width = config.comparison_channels
        self.encoder_1d = MLP(2, config.channels, config.channels)
        self.axial_N_N_d2 = AxialLayer(width, config.heads, config.comparison_ffn, config.dropout)
        self.linear_out = nn.Linear(width, 1)

    def compare(
        self,
        control_code: Tensor,
        perturbed_code: Tensor,
        control_mean_variance: Tensor,
        perturbed_mean_variance: Tensor,
        n_genes: Tensor | None = None,
    ) -> Tensor:
        """Logit of each gene to be a target, from two encoded arms.

        Parameters
        ----------
        control_code, perturbed_code
            From `encode_arm`, (B, N, N, d).
        control_mean_variance, perturbed_mean_variance
            Mean and variance of each gene, (B, N, 2).
        n_genes
            Genes of each sample, (B,). None: N in all.

        Returns
        -------
        (B, N), 0 for padded genes.
        """
        genes = None if n_genes is None else gene_mask(n_genes, control_code.shape[1])
        codes = join_arms(control_code, perturbed_code, self.config.form)
        statistics = join_arms(
            self._embed_statistics(control_mean_variance, genes),
            self._embed_statistics(perturbed_mean_variance, genes),
            self.config.form,
        )
        unchanged = None
        if self.config.form == "difference":
            same = (control_mean_variance == perturbed_mean_variance).all(dim=-1)
            # looking at a value would make the host wait for the device
            unchanged = same if same.device.type != "cpu" or bool(same.any()) else None
        of_gene = compare_codes(codes, statistics, self.axial_N_N_d2, genes, unchanged)
        logits = self.linear_out(of_gene).squeeze(-1)
        return logits if genes is None else logits.masked_fill(~genes, 0.0)

    def forward(self, batch: CDNBatch) -> Tensor:  # type: ignore[override]
        """Logit of each gene to be a target.

        Parameters
        ----------
        batch
            B pairs of arms.

        Returns
        -------
        (B, N), 0 for padded genes.
        """
        control, perturbed = batch.control, batch.perturbed
        return self.compare(
            self.encode_arm(control),
            self.encode_arm(perturbed),
            control.mean_variance,
            perturbed.mean_variance,
            batch.n_genes if control.padded else None,
        )

    def _embed_statistics(self, mean_variance: Tensor, genes: Tensor | None) -> Tensor:
        values = mean_variance.to(self.encoder_1d.linear.weight.dtype)
        return self.encoder_1d(values if genes is None else values.masked_fill(~genes[..., None], 0.0))
