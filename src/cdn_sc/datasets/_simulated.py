"""`cdn_sc.datasets.simulated_screen`: a small screen whose targets are known."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData


def simulated_screen() -> "AnnData":
    """Simulate the small screen that the demonstration and the documentation use.

    Always the same one call of :func:`cdn_sc.simulate.screen`: 200 genes, 1,000 control cells, and two
    groups of about 150 cells of each kind of perturbation (`knockdown`, `activation`, `knockout`,
    `activity`), one target a group. It takes a second, and nothing is downloaded or kept.

    Returns
    -------
    :class:`~anndata.AnnData` with raw counts in `X`, and

    `adata.obs['perturbation']` : categorical
        `control`, or the target gene and the kind.
    `adata.obs['kind']` : categorical
        What was done to the cell.
    `adata.uns['targets']` : dict
        Group -> array of its target genes.

    :func:`cdn_sc.simulate.screen` lists the other fields.

    Examples
    --------
    >>> import cdn_sc
    >>> adata = cdn_sc.datasets.simulated_screen()
    >>> adata.shape
    (2200, 200)
    >>> adata.obs["perturbation"].nunique()
    9
    """
    from cdn_sc.simulate import screen

    return screen(
        n_genes=200,
        n_groups={"knockdown": 2, "activation": 2, "knockout": 2, "activity": 2},
        n_control=1000,
        n_perturbed=150,
        seed=0,
    )
