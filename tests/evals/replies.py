"""Replies as models give them, and worse: for comparing scorings on random ones."""

from __future__ import annotations

from hypothesis import strategies as st

FRAGMENTS = (
    "A", "B", "C", "D", "E", "F", "a", "b", "(", ")", ".", " ", ":", "\n", ",", "", "Answer: ", "Option ",
    "Best option:", "Best answer:", "The best option is", "The correct option is", "The answer", "The answer is",
    "The best answer is", "and", "None", "none of them shown", "He sits.", "He runs.", "The ring is red", "two",
    "Both", "one two three four five six",
)  # fmt: skip


def replies(*more: str) -> st.SearchStrategy[str]:
    """Of a few fragments, and of the texts that are given."""
    return st.lists(st.sampled_from(FRAGMENTS + more), max_size=6).map("".join)
