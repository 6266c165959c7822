"""Data Docs without scripts: Great Expectations' pages in templates of our own, with every value escaped.

Great Expectations prints column values as they are, so that a tweet or a label with markup becomes part of the page.
Its pages also load scripts and styles from other hosts; these here need none, and forbid them.
Checked against the version below; tests/unit/test_adapters.py fails when the installed version differs.
"""

from __future__ import annotations

import html
from typing import Any

from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, DictLoader, pass_context

from polarity.config.page_policy import META_TAG

GREAT_EXPECTATIONS = "1.24.1"

_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{META_TAG}
<title>Data Docs{{% if expectation_suite_name %}}: {{{{ expectation_suite_name | e }}}}{{% endif %}}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; margin: .5rem 0 }} ul {{ padding-left: 1.2rem }}
th, td {{ padding: .3rem .6rem; border-top: 1px solid #8883; text-align: left; vertical-align: top }}
td {{ overflow-wrap: anywhere; min-width: 3rem }} p {{ margin: .3rem 0 }}
h5, h6 {{ font-size: 1rem; margin: 1rem 0 .3rem }} hr {{ display: none }}
.fa-check-circle::before, .fa-check::before {{ content: "✓"; color: #1b7354 }}
.fa-times::before {{ content: "✗"; color: #a8431f }} .fa-exclamation-triangle::before {{ content: "⚠" }}
.cooltip > span {{ display: none }}
</style></head><body>
{{% for section in sections %}}{{% set section_loop = loop %}}{{% include 'section.j2' %}}{{% endfor %}}
</body></html>
"""
_TABLE = """{% include 'content_block_header.j2' %}
{% set columns = content_block["table_columns"] | rejectattr("visible", "false") | list %}
<table><thead><tr>{% for column in columns %}<th>{{ column.title | e }}</th>{% endfor %}</tr></thead><tbody>
{% for row in content_block["table_data"] | render_bootstrap_table_data %}<tr>
{% for column in columns %}<td>
{%- if loop.first and row._table_row_link_path -%}<a href="{{ row._table_row_link_path | e }}">open</a> {% endif -%}
{{ row[column.field] }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table>
"""
_COLLAPSE = """<details><summary>
{{- content_block.get("collapse_toggle_link", "Show more") | render_content_block -}}
</summary>{% include 'content_block_header.j2' %}
{% for block in content_block["collapse"] %}{{ block | render_content_block }}{% endfor %}</details>
"""
TEMPLATES = {
    "page.j2": _PAGE,
    "bootstrap_table.j2": _TABLE,
    "collapse.j2": _COLLAPSE,
    "graph.j2": "",  # drawn by a script
}


class EscapedPageView(DefaultJinjaPageView):
    """A page of Data Docs in which plain text is text."""

    def __init__(self, custom_styles_directory: str | None = None, custom_views_directory: str | None = None) -> None:
        super().__init__(custom_styles_directory, custom_views_directory)
        assert self.env.loader is not None
        self.env.loader = ChoiceLoader([DictLoader(TEMPLATES), self.env.loader])

    @pass_context
    def render_content_block(
        self,
        jinja_context: Any,
        content_block: Any,
        index: Any = None,
        content_block_id: Any = None,
        render_to_markdown: bool = False,
    ) -> Any:
        """Render a block; whatever is not one of Great Expectations' own blocks is escaped."""
        return super().render_content_block(
            jinja_context, _escaped(content_block), index, content_block_id, render_to_markdown
        )


def _escaped(block: Any) -> Any:
    if isinstance(block, list):
        return [_escaped(item) for item in block]
    if block is None or (isinstance(block, dict) and "content_block_type" in block):
        return block
    return html.escape(str(block))
