"""The published archive in small: its layout exactly, with simulated screens in the place of its cells."""

import io
import tarfile
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cdn_sc.simulate.scm import scm_dataset
from cdn_sc.simulate.screen import screen_pairs

LINES = ("k562_gw", "k562_essential", "rpe1", "hepg2", "jurkat")
# drugs in two cell lines, as in the published table
DRUGS = {"A172": ("Nintedanib", "Palbociclib"), "T98G": ("Palbociclib",)}
SETTINGS = ("p10_e10_n30000_linear_soft_shift", "p10_e20_n30000_sigmoid_add_structural_normal")
PAIRS_OF_A_LINE = 11
ROWS_OF_A_DATA_SET = 220
_HELD_OUT = {
    "hepg2": ["hepg2"],
    "jurkat": ["jurkat"],
    "k562": ["k562_gw", "k562_essential"],
    "rpe1": ["rpe1"],
}


@dataclass(frozen=True)
class Imitation:
    """Where it lies, and the split files by name."""

    folder: Path
    splits: dict[str, bytes]
    _packed: dict[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def members(self):
        """Paths of all files, as the splits name them."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def packed(self, kind, *, top=""):
        """All files in an archive: zip, or a mode of tarfile such as tar:gz; `top` replaces data/."""
        if (kind, top) not in self._packed:
            self._packed[kind, top] = self._pack(kind, top)
        return self._packed[kind, top]

    def _pack(self, kind, top):
        content = io.BytesIO()
        names = {name: top + name.removeprefix("data/") if top else name for name in self.members}
        if kind == "zip":
            with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, inside in names.items():
                    archive.write(self.folder / name, inside)
        else:
            with tarfile.open(fileobj=content, mode=kind.replace("tar", "w")) as archive:
                for name, inside in names.items():
                    archive.add(self.folder / name, inside)
        return content.getvalue()


def imitation_archive(folder):
    """Write the files into a folder."""
    rng = np.random.default_rng(7)
    rows = [row for line in LINES for row in _screen(folder, line, rng)]
    table = pd.DataFrame(rows)
    table["split"] = np.where(np.arange(len(table)) % 3 == 2, "test", "train")
    tables = {"perturbseq.csv": table}
    for line, sets in _HELD_OUT.items():
        is_test = table["fp_data"].str.split("/").str[2].isin(sets)
        tables[f"perturbseq_{line}.csv"] = table.assign(split=np.where(is_test, "test", "train"))
    drugs = [row for line, names in DRUGS.items() for row in _drugs(folder, line, names, rng)]
    tables["sciplex.csv"] = pd.DataFrame(drugs)
    tables["test_240.csv"] = pd.DataFrame(
        [_data_set(folder, name, number, rng) for number in (1, 2) for name in SETTINGS]
    )
    columns = ["pert", "name", "cluster", "split", "fp_data", "label"]
    for name in tables:
        if name.startswith("perturbseq"):
            tables[name] = tables[name][columns]
    return Imitation(folder, {name: table.to_csv(index=False).encode() for name, table in tables.items()})


def _simulate(rng, kind, number):
    # of more genes than are kept, so that each pair has genes of its own, its target always among them
    pairs = screen_pairs(
        rng,
        n_genes=36,
        n_groups=number,
        n_control=50,
        n_perturbed=(20, 40),
        kinds={kind: 1.0},
        n_targets=(1.0,),
    )
    return [_with_its_target(pair, 24) for pair in pairs]


def _with_its_target(pair, n_genes):
    """The most changed genes; the target, if need be, in place of the weakest, as in the published data."""
    change = np.abs(pair.perturbed.mean(axis=0) - pair.control.mean(axis=0))
    change[pair.targets] = np.inf
    kept = np.sort(np.argsort(-change)[:n_genes])
    targets = np.flatnonzero(np.isin(kept, pair.targets))
    return replace(pair, control=pair.control[:, kept], perturbed=pair.perturbed[:, kept], targets=targets)


def _write(folder, path, values, dtype):
    path = folder / path
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values.astype(dtype))


def _screen(folder, line, rng):
    for number, pair in enumerate(_simulate(rng, "knockdown", PAIRS_OF_A_LINE)):
        gene, path = f"ENSG{LINES.index(line):05d}{number:06d}", f"data/single_cell/{line}"
        dtype = np.float64 if number % 2 else np.float32
        _write(folder, f"{path}/data-{gene}.npy", pair.control, dtype)
        _write(folder, f"{path}/data_interv-{gene}.npy", pair.perturbed, dtype)
        yield {
            "pert": gene,
            "name": "NA" if number == 3 else f"GENE{number}",  # a name that pandas takes for none
            "cluster": number % 4,
            "fp_data": f"{path}/data_interv-{gene}.npy",
            "label": int(pair.targets[0]),
        }


def _drugs(folder, line, names, rng):
    for name, pair in zip(names, _simulate(rng, "activity", len(names)), strict=True):
        path = f"data/single_cell/{line}"
        _write(folder, f"{path}/data-{name}.npy", pair.control, np.float32)
        _write(folder, f"{path}/data_interv-{name}.npy", pair.perturbed, np.float32)
        yield {
            "name": name,
            "pert": "ENSG00000105810",
            "fp_data": f"{path}/data_interv-{name}.npy",
            "label": int(pair.targets[0]),
            "split": "test",
        }


def _data_set(folder, setting, number, rng):
    genes, edges = (int(part[1:]) for part in setting.split("_")[:2])
    mechanism, _, intervention = setting.split("_", 3)[3].rpartition("_")
    mechanism, _, first = mechanism.rpartition("_")
    pairs = list(scm_dataset(genes, edges, mechanism, f"{first}_{intervention}", ROWS_OF_A_DATA_SET, rng))
    values = np.concatenate([pairs[0].control, *(pair.perturbed for pair in pairs)])
    lines = [""] * len(pairs[0].control)
    for pair in pairs:
        lines += [",".join(map(str, pair.targets))] * len(pair.perturbed)
    path = f"data/synthetic/{setting}"
    _write(folder, f"{path}/data_interv{number}.npy", values, np.float64)
    _write(folder, f"{path}/DAG{number}.npy", pairs[0].graph, np.float64)
    (folder / path / f"intervention{number}.csv").write_text("".join(f"{line}\n" for line in lines))
    return {
        "fp_data": f"{path}/data_interv{number}.npy",
        "fp_graph": f"{path}/DAG{number}.npy",
        "fp_regime": f"{path}/intervention{number}.csv",
        "split": "test",
    }
