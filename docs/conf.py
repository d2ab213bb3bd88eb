"""The documentation: `make docs` builds it from these pages and from the docstrings, without a network."""

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "Percept"
author = "The Percept authors"
project_copyright = author
version = release = importlib.metadata.version("percept")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
exclude_patterns = ["_build"]
linkcheck_anchors = False
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}  # numpydoc makes the former

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
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
html_sidebars = {"**": ["globaltoc.html"]}
html_theme_options = {
    "show_toc_level": 2,
    "logo": {"text": f"Percept {version}"},
    "navbar_center": [],
    "navbar_persistent": ["search-field"],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app: Any) -> None:
    """Write the generated pages before any page is read."""
    app.connect("builder-inited", _write_pages)


def _write_pages(_: Any) -> None:
    from reference_pages import glossary, write_pages

    (HERE / "glossary.md").write_text(glossary())
    if (HERE / "reference").is_dir():  # the quick test of the pages builds without the reference
        write_pages(HERE / "reference", HERE.parent)
