"""Rules that every public name keeps: quick import, signatures, docstrings."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cdn_sc

NAMESPACES = ("tl", "pl", "get", "datasets", "metrics", "simulate", "models")
# What may stand before the keyword-only arguments, by namespace.
POSITIONAL = {
    "tl": ("adata", "groupby", "control", "groups", "targets"),
    "pl": ("adata", "groups", "group", "gene", "result"),
    "get": ("adata", "group", "gene"),
}
# What returns something else than the object that it was given.
LEAVE_ADATA_ALONE = ("fine_tune", "relations_from_screen")


def public_names():
    for namespace in NAMESPACES:
        module = importlib.import_module(f"cdn_sc.{namespace}")
        for name in getattr(module, "__all__", ()):
            yield namespace, name, getattr(module, name)


PUBLIC = list(public_names())
FUNCTIONS = [
    pytest.param(namespace, function, id=f"{namespace}.{name}")
    for namespace, name, function in PUBLIC
    if inspect.isfunction(function)
]

CLASSES = [
    pytest.param(value, id=f"{namespace}.{name}")
    for namespace, name, value in PUBLIC
    if inspect.isclass(value)
]


def test_import_is_light():
    code = """
import sys
import cdn_sc
dir(cdn_sc), cdn_sc.settings.verbosity
heavy = {"torch", "scanpy", "anndata", "numba", "lightning", "causallearn", "pandas", "numpy", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_command_starts_without_heavy_imports():
    code = """
import sys
from cdn_sc.cli import main
main(["--help"])
print(sorted({"torch", "scanpy", "numba", "anndata"} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_loading_a_model_leaves_the_compiler_of_torch_alone():
    """Its import takes a second."""
    code = """
import sys
from cdn_sc import models
for name in ("default", "cdn-scm"):
    models.load(name)
print("torch" in sys.modules, "torch._dynamo" in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True", "False"]


def test_namespaces():
    assert set(NAMESPACES) | {"settings", "__version__"} == set(dir(cdn_sc))
    for name in dir(cdn_sc):
        assert getattr(cdn_sc, name) is not None
    assert re.fullmatch(r"\d+\.\d+.*", cdn_sc.__version__)
    with pytest.raises(AttributeError, match="no attribute 'tool'"):
        _ = cdn_sc.tool


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_all_names_are_there(namespace):
    module = importlib.import_module(f"cdn_sc.{namespace}")
    assert module.__doc__
    assert hasattr(module, "__all__"), f"cdn_sc.{namespace} needs an __all__"
    assert all(hasattr(module, name) for name in module.__all__)
    # What tab completion offers.
    assert dir(module) == sorted(module.__all__)


def test_the_documentation_lists_all_public_functions():
    listed = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    functions = [f"{namespace}.{name}" for namespace, name, value in PUBLIC if inspect.isfunction(value)]
    missing = [function for function in functions if f"   {function}\n" not in listed]
    assert missing == []


def test_the_main_functions_are_public():
    assert {(namespace, name) for namespace, name, _ in PUBLIC} >= {
        ("tl", "predict_targets"),
        ("tl", "to_rank_genes_groups"),
        ("tl", "fine_tune"),
        ("get", "predicted_targets_df"),
        ("get", "graph_difference"),
        ("pl", "predicted_targets"),
        ("pl", "target_heatmap"),
        ("pl", "score_vs_effect"),
        ("pl", "graph_difference"),
        ("pl", "evaluation"),
    }


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_signature(namespace, function):
    parameters = list(inspect.signature(function).parameters.values())
    unannotated = [p.name for p in parameters if p.annotation is inspect.Parameter.empty]
    assert not unannotated
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty
    if namespace not in POSITIONAL:
        return
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[0] == ("result" if function.__name__ == "evaluation" else "adata")
    assert set(positional) <= set(POSITIONAL[namespace])
    if namespace == "tl" and function.__name__ not in LEAVE_ADATA_ALONE:
        copy = inspect.signature(function).parameters["copy"]
        assert copy.default is False
    if namespace == "pl":
        assert {"ax", "show", "save", "figsize"} <= {p.name for p in parameters}
        assert re.search(r"^\.\. image:: /(_static/plots/\w+\.png)$", inspect.getdoc(function), re.M)


@pytest.mark.parametrize(
    "function", [pytest.param(value, id=name) for namespace, name, value in PUBLIC if namespace == "pl"]
)
def test_the_picture_of_a_plot_is_there_and_small(function):
    path = re.search(r"^\.\. image:: /(\S+)$", inspect.getdoc(function), re.M).group(1)
    assert 2000 < (Path(__file__).parents[1] / "docs" / path).stat().st_size < 150_000


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_docstring(namespace, function):
    text = inspect.getdoc(function)
    assert text, "has no docstring"
    parameters = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    if parameters:
        section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}\n|\Z)", text, re.S | re.M)
        assert section, "has no section Parameters"
        described = re.findall(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)$", section.group(1), re.M)
        names = {name.lstrip("*") for line in described for name in line.split(", ")}
        assert names == set(parameters)
    if inspect.signature(function).return_annotation not in (None, "None"):
        assert re.search(r"^(Returns|Yields)\n-+\n", text, re.M), "has no section Returns"


@pytest.mark.parametrize(
    "value", [pytest.param(v, id=f"{n}.{k}") for n, k, v in PUBLIC if inspect.isclass(v)]
)
def test_classes_have_docstrings(value):
    assert value.__doc__
    assert not value.__doc__.startswith(f"{value.__name__}("), "only has the docstring that dataclass makes"
