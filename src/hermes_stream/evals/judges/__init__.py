"""Who judges open answers: rules, and models behind an endpoint whose answers are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hermes_stream.errors import TaskError, unknown_name
from hermes_stream.evals.judge import Judge
from hermes_stream.evals.judges.endpoint import Asker, Endpoint, EndpointSetting
from hermes_stream.evals.judges.kept import KeptAnswers, KeptAsker
from hermes_stream.evals.judges.open_answer import OpenAnswerJudge
from hermes_stream.evals.judges.text_match import ExactMatch, FuzzyMatch

RULES: dict[str, type[ExactMatch] | type[FuzzyMatch]] = {"exact": ExactMatch, "fuzzy": FuzzyMatch}


def find_rule(name: str) -> Judge:
    """A judge without a model, by its name. Raises TaskError for an unknown one, with the nearest."""
    if name not in RULES:
        raise TaskError(f"{unknown_name('judge', name, RULES)} Or name a model as in http://localhost:8000/v1#judge-7b")
    return RULES[name]()


@contextmanager
def open_asker(setting: EndpointSetting, kept: Path) -> Iterator[Asker]:
    """An endpoint whose answers are kept in a file, while the block lasts. Raises TaskError where that cannot be."""
    endpoint = Endpoint(setting)
    try:
        answers = KeptAnswers(kept)
        try:
            yield KeptAsker(endpoint, answers)
        finally:
            answers.close()
    finally:
        endpoint.close()


@contextmanager
def open_judge(setting: EndpointSetting, kept: Path) -> Iterator[Judge]:
    """A model that judges open answers, while the block lasts; see `open_asker`."""
    with open_asker(setting, kept) as asker:
        yield OpenAnswerJudge(asker)


@contextmanager
def open_named_judge(name: str, kept: Path) -> Iterator[Judge]:
    """A judge as a command line names it, while the block lasts: a rule, or ADDRESS#MODEL, or ADDRESS#MODEL@REVISION.

    Raises TaskError for what is none of these, and where an endpoint cannot be used.
    """
    if "://" not in name:
        yield find_rule(name)
        return
    with open_judge(endpoint_named(name), kept) as judge:
        yield judge


def endpoint_named(name: str) -> EndpointSetting:
    """Of ADDRESS#MODEL or ADDRESS#MODEL@REVISION. Raises TaskError without a model."""
    address, _, named = name.partition("#")
    model, _, revision = named.partition("@")
    if not model:
        raise TaskError(f"{name!r} names no model; expected one as in http://localhost:8000/v1#judge-7b")
    return EndpointSetting(base_url=address, model=model, revision=revision)
