"""Configuration of the documentation."""

from importlib.metadata import version as installed_version

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
napoleon_google_docstring = False
# The first line of a section Returns is a sentence here, not a type.
napoleon_use_rtype = False
default_role = "code"

html_theme = "sphinx_book_theme"
html_title = "cdn-sc"
html_static_path = ["_static"]
html_theme_options = {"show_toc_level": 2, "use_download_button": False}
