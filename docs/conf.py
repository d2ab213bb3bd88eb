"""The documentation: `make docs` builds it from these pages and from the docstrings, without a network."""

import importlib.metadata

project = "Percept"
author = "The Percept authors"
project_copyright = author
version = release = importlib.metadata.version("percept")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
exclude_patterns = ["_build"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}  # numpydoc makes the former

myst_heading_anchors = 3
autodoc_typehints = "none"  # numpydoc's sections say it
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
maximum_signature_line_length = 80

html_theme = "pydata_sphinx_theme"
html_title = "Percept"
html_static_path = ["_static"]
html_css_files = ["percept.css"]
html_copy_source = False
html_sidebars = {"**": ["globaltoc.html"], "index": []}
html_theme_options = {
    "show_toc_level": 2,
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
