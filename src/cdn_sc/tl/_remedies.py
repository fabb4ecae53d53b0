"""Lines of Python for messages: they mend the values that were read where these are, and nothing else."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where in an AnnData the values are: `X`, a layer or `raw`."""

    layer: str | None = None
    raw: bool = False

    @property
    def matrix(self) -> str:
        """The matrix, as it is written in Python."""
        if self.raw:
            return "adata.raw.X"
        return "adata.X" if self.layer is None else f"adata.layers[{self.layer!r}]"

    @property
    def names(self) -> str:
        """The names of its genes, as they are written in Python."""
        return "adata.raw.var_names" if self.raw else "adata.var_names"

    def normalise(self) -> str:
        """Lines that make counts log-normalised."""
        what = "raw" if self.raw else "adata" if self.layer is None else f"adata, layer={self.layer!r}"
        return self._in_raw(f"sc.pp.normalize_total({what})", f"sc.pp.log1p({what})")

    def make_names_unique(self) -> str:
        """Lines that make the names of the genes unique."""
        return self._in_raw("raw.var_names_make_unique()" if self.raw else "adata.var_names_make_unique()")

    def convert(self, change: str) -> str:
        """Lines that replace the matrix by one that a method such as ``astype("float32")`` makes of it."""
        matrix = "raw.X" if self.raw else self.matrix
        return self._in_raw(f"{matrix} = {matrix}.{change}")

    def _in_raw(self, *lines: str) -> str:
        # what `raw` holds cannot be changed in place
        around = ("raw = adata.raw.to_adata()", "adata.raw = raw") if self.raw else ()
        return "\n".join([*around[:1], *lines, *around[1:]])
