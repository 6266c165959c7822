"""The file of alert rules: what it may say, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from polarity.config.settings import PROJECT
from polarity.errors import ConfigurationError
from polarity.watch.rules import AlertRules, Rule, read_rules


def rule(**given: Any) -> dict[str, Any]:
    return {"name": "negatives", "measure": "answers", "label": "negative", "at_least": 3, **given}


def test_the_delivered_rules_are_valid_and_those_of_the_article_are_among_them() -> None:
    rules = read_rules(PROJECT / "alerts.yaml")
    negatives = rules.rule("negatives")
    assert (negatives.at_least, negatives.window, negatives.label) == (3, 300, "negative")
    assert {each.measure for each in rules.rules} >= {
        "p95_latency",
        "error_share",
        "requests",
        "refused_share",
        "answer_share",
        "accuracy",
        "spool_age",
        "other_model_served",
    }
    assert all(each.description for each in rules.rules), "a message says what it means"


@pytest.mark.parametrize(
    ("written", "seconds"), [("5 min", 300), ("90 s", 90), ("1.5 h", 5400), ("28 days", 2_419_200), (120, 120)]
)
def test_durations_are_written_with_their_unit(written: Any, seconds: float) -> None:
    assert Rule(**rule(window=written)).window == seconds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (rule(at_most=1), "rule 'negatives': it has at_least and at_most; exactly one"),
        (rule(at_least=None), "rule 'negatives': it has no condition; exactly one"),
        (rule(window="5 minutes"), "rule 'negatives': window: write a number and s, min, h or days"),
        (rule(window="10 s"), "rule 'negatives': window: Input should be greater than or equal to 60"),
        (rule(measure="anger"), "rule 'negatives': measure: Input should be 'answers'"),
        (rule(label=None), "`label` is needed for the measures answers and answer_share"),
        (rule(measure="requests", label=None, by_source=True), "`by_source` is only possible"),
        (rule(at_least=None, unusual={}), "`unusual` needs the measure answer_share"),
        (rule(measure="accuracy", label=None), "`below_reference` belongs to the measure accuracy"),
        (rule(channels=["nobody"]), "the rule 'negatives' names the channel 'nobody'"),
        (rule(colour="red"), "rule 'negatives': colour: Extra inputs are not permitted"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(yaml.safe_dump({"rules": [given]}))
    with pytest.raises(ConfigurationError) as caught:
        read_rules(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_name_occurs_once(tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(yaml.safe_dump({"rules": [rule(), rule(at_least=9)]}))
    with pytest.raises(ConfigurationError, match="the name 'negatives' occurs more than once"):
        read_rules(file)


@pytest.mark.parametrize("content", ["rules: [", "\xff", "just words"])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"alerts\.yaml"):
        read_rules(file)
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        read_rules(tmp_path / "nowhere.yaml")


def test_addresses_come_from_the_environment() -> None:
    rules = AlertRules(
        channels={"team": "TEAM", "boss": "BOSS"},
        rules=(Rule(**rule()), Rule(**rule(name="worse", channels=("boss",)))),
    )
    environment = {"TEAM": "mailto://a  json://b\njson://c", "BOSS": ""}
    all_of_team = [("team", "mailto://a"), ("team", "json://b"), ("team", "json://c")]
    assert rules.addresses(environment=environment) == all_of_team
    assert rules.addresses(rules.rule("negatives"), environment) == all_of_team
    assert rules.addresses(rules.rule("worse"), environment) == []
    with pytest.raises(ConfigurationError, match="no rule 'better'; there are negatives, worse"):
        rules.rule("better")
