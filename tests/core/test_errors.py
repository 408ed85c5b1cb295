"""Values of files in messages: one short line, whatever they hold."""

from __future__ import annotations

import pytest

from human_edge_detection.core.errors import one_line, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        (5, "5"),
        ("two\nlines", r"'two\nlines'"),
        ([1, 2], "[1, 2]"),
        (10**5000, "a int that cannot be shown"),
        ("x" * 10**6, "'" + "x" * 78 + "…"),
        (list(range(10**6)), str(list(range(40)))[:79] + "…"),
    ],
    ids=lambda value: str(type(value)),
)  # fmt: skip
def test_values_are_shown_in_a_few_words(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown(value, 20)) <= 26


def test_messages_fit_a_line() -> None:
    assert one_line("a\nb\x1b") == r"a\nb\x1b"
    assert one_line("a" * 400 + "b" * 400, 100) == "a" * 50 + " … " + "b" * 50
