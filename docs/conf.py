"""Configuration of the documentation."""

import re
from importlib.metadata import version as installed_version
from pathlib import Path

project = "cdn-sc"
author = "The cdn-sc developers"
project_copyright = "The cdn-sc developers"
release = installed_version("cdn-sc")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "results"]
# Notebooks hold their outputs; building the pages runs no code.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
# One argument a line where a signature would not fit.
python_maximum_signature_line_length = 90
napoleon_google_docstring = False
# The first line of a section Returns is a sentence here, not a type.
napoleon_use_rtype = False
default_role = "code"
# Names of fields, such as uns['table'], are code and no prose.
smartquotes = False

html_theme = "sphinx_book_theme"
html_title = "cdn-sc"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"show_toc_level": 2, "use_download_button": False}


def _plain_field_names(app, what, name, obj, options, lines):
    """Napoleon sets the fields that a function writes in bold, backticks and all; take the backticks away."""
    for number, line in enumerate(lines):
        lines[number] = re.sub(r"^`([^`]+)` : ", r"\1 : ", line)


def _copy_tutorials():
    """Copy the notebooks to where their pages are built; their links to pages change with the place."""
    docs = Path(__file__).resolve().parent
    copies = docs / "tutorials"
    copies.mkdir(exist_ok=True)
    notebooks = {path.name: path for path in (docs.parent / "tutorials").glob("*.ipynb")}
    for old in copies.iterdir():
        if old.name not in notebooks:
            old.unlink()
    for name, path in notebooks.items():
        text = path.read_text(encoding="utf-8").replace("](../docs/", "](../")
        copy = copies / name
        # left alone where nothing changed, so that only changed pages are built anew
        if not copy.is_file() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")


_copy_tutorials()


def setup(app):
    """Register the step above; it runs before napoleon, which has a higher priority number."""
    app.connect("autodoc-process-docstring", _plain_field_names, priority=100)
