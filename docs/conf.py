"""The site: sphinx-build docs build/site, or .ci/run site, which also checks it. pip install -e '.[docs]'"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import docstrings  # noqa: E402
import reference  # noqa: E402
import sources  # noqa: E402
import views  # noqa: E402

import vqnp  # noqa: E402

project = "vqnp"
author = "the authors of vqnp"
copyright = "the authors of vqnp"
release = version = vqnp.__version__
language = "en"

extensions = [
    "myst_parser", "sphinx_design", "sphinx_copybutton", "sphinx.ext.autodoc", "sphinx.ext.napoleon",
    # MathJax, served by the site itself: no page asks another host for anything.
    "sphinx.ext.mathjax", "sphinx-mathjax-offline",
]  # fmt: skip
source_suffix = {".md": "markdown", ".myst": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_ext"]
default_role = "literal"
nitpicky = True
suppress_warnings = ["myst.xref_ambiguous"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
myst_url_schemes = {"http": None, "https": None, "source": None}
mathjax3_config = {"options": {"enableMenu": False}}

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
autodoc_typehints = "none"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
python_display_short_literal_types = True
# Types in docstrings are words, "ndarray of float32, shape (..., D)", not names that a page has.
nitpick_ignore_regex = [(r"py:.*", r"(?!vqnp\.).*"), (r"py:class", r"vqnp\..*\._?[A-Z]\w*")]

html_theme = "furo"
html_title = "vqnp"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app):
    reference.write(HERE / "api")
    views.write(HERE / "more")
    app.connect("source-read", sources.on_source_read)
    app.connect("source-read", views.on_source_read, priority=400)
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)
    app.connect("doctree-read", views.on_doctree_read)
    app.connect("doctree-resolved", sources.relative_links)
    app.connect("html-page-context", views.on_page_context, priority=900)
    app.connect("build-finished", sources.write_pages)
