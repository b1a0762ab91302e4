"""Tables as text and HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warmstart.tables import format_bytes, format_cell, format_count, html_table, text_table


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (True, "yes"), (1234567, "1,234,567"), (0.000123456, "0.0001235"), (12345.6, "12,346"), ("a", "a")],
)
def test_cells_are_short(value, shown):
    assert format_cell(value) == shown


def test_sizes_have_units():
    assert [format_bytes(n) for n in (0, 1023, 1536, 2**30)] == ["0 B", "1023 B", "1.5 KiB", "1.0 GiB"]
    assert [format_count(n) for n in (7, 1500, 22_713_216)] == ["7", "1.5k", "22.7M"]


def test_numbers_are_aligned_to_the_right_and_words_to_the_left():
    lines = text_table(("name", "n"), [("a", 5), ("long name", 1000)]).splitlines()
    assert lines == ["name           n", "---------  -----", "a              5", "long name  1,000"]


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_html_holds_no_markup_of_the_cells(rows):
    html = html_table(("a", "b"), rows, caption="<b>")
    tags = html.count("<") - html.count("<table>") - html.count("</table>")
    cells = 2 * (len(rows) + 1)
    assert tags == 2 * cells + 2 * (len(rows) + 1) + 4
