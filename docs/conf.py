"""How `make docs` builds the site: pages in MyST Markdown, the rest from the code itself."""

import sys
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import dnabench

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402 (beside this file)

generate.write(HERE / "generated")

project = "dnabench"
author = "the dnabench developers"
copyright = "the dnabench developers, Apache-2.0"
version = release = dnabench.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["build", "jupyter_execute"]
suppress_warnings = [
    "myst.header",  # reports pasted into pages begin at a level of their own
    "ref.python",  # two modules may have a Table or a Row
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_update_mathjax = False
nb_execution_mode = "force"
nb_execution_timeout = 110
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
default_role = "literal"
smartquotes = False  # two dashes are a flag
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = "dnabench"
templates_path = ["templates"]
html_sidebars = {"**": ["pages.html"]}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "navbar_align": "right",
    "navbar_center": [],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "default",
}


def inline_math(self, node):
    """A formula as MathML, which browsers draw themselves: no script from elsewhere."""
    self.body.append(tex2mathml(node.astext()))
    raise SkipNode


def block_math(self, node):
    """The same on a line of its own."""
    self.body.append(tex2mathml(node.astext(), as_block=True))
    raise SkipNode


def setup(app):
    """Docstrings are plain text with `code`; a class shows its fields as its source does."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", generate.plain_text, priority=100)
    app.connect("autodoc-process-docstring", generate.fields, priority=600)
    app.connect("autodoc-process-signature", generate.short_signature)
    app.connect("autodoc-skip-member", generate.skipped)
