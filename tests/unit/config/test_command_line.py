from __future__ import annotations

from pathlib import Path

import pytest

from polarity.config.command_line import parse_options
from polarity.errors import ConfigurationError
from polarity.pipeline.config import TrainConfig


def parse(*arguments: str) -> TrainConfig:
    return parse_options(TrainConfig, arguments, prog="train")[0]


def test_a_profile_gives_defaults_and_options_override_it() -> None:
    demo = parse("--profile", "demo")
    assert demo.data.source == "generated"
    chosen = parse("--profile", "demo", "--data.rows", "500", "--distilbert.encoder", "random")
    assert (chosen.data.source, chosen.data.rows) == ("generated", 500)
    assert chosen.distilbert.train_rows == demo.distilbert.train_rows
    assert parse() == TrainConfig(profile="standard")


def test_a_configuration_from_the_api_also_uses_the_profile() -> None:
    assert TrainConfig.model_validate({"profile": "demo"}) == parse("--profile", "demo")
    again = TrainConfig.model_validate(parse("--profile", "demo", "--seed", "3").model_dump())
    assert again == parse("--profile", "demo", "--seed", "3")


def test_value_types() -> None:
    config = parse(
        "--data.path", "t.csv", "--data.label_map", '{"0": "a", "1": "b"}', "--labels", "a,b",
        "--models", "logistic,bert", "--bilstm.vectors", "word2vec", "--no-logistic.calibrate",
    )  # fmt: skip
    assert config.data.path == Path("t.csv")
    assert config.data.label_map == {"0": "a", "1": "b"}
    assert config.labels == ("a", "b")
    assert config.models == ("logistic", "bert")
    assert config.bilstm.vectors == "word2vec"
    assert config.logistic.calibrate is False


def test_none_removes_a_limit_of_the_profile() -> None:
    assert parse().distilbert.train_rows is not None
    assert parse("--distilbert.train_rows", "None").distilbert.train_rows is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profle", "demo"], "no option --profle; did you mean --profile"),
        (["--data.pth=x"], "no option --data.pth; did you mean --data.path"),
        (["--profile", "dmo"], "'demo', 'standard' or 'full'"),
        (["--distilbert.train_rows", "many"], "distilbert.train_rows: got 'many'"),
        (["--preparation.test_share", "0.9"], "preparation.test_share: got '0.9'"),
        (["--models", "logistic,svm"], "models"),
        (["--models", "logistic,logistic"], "each only once"),
        (["--labels", "one"], "two distinct"),
        (["--select.family", "bert"], "contains no model of that family"),
        (["--seed"], "expected one argument"),
    ],
)
def test_an_invalid_option_is_named_with_the_valid_choice(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        parse(*arguments)


def test_every_option_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        parse("--help")
    assert done.value.code == 0
    help_text = capsys.readouterr().out
    assert "--bilstm.vectors" in help_text
    assert "GloVe text file" in help_text


def test_flags_outside_the_configuration() -> None:
    config, flags = parse_options(TrainConfig, ["--plan", "--seed", "3"], prog="train", flags={"plan": "show it"})
    assert (config.seed, flags) == (3, {"plan": None})
    with_value = {"plan": "show it"}, {"reproduce": "run it again"}
    arguments = ["--reproduce", "20300101-demo"]
    _, given = parse_options(TrainConfig, arguments, prog="train", flags=with_value[0], named=with_value[1])
    assert given == {"reproduce": "20300101-demo"}
    with pytest.raises(ConfigurationError, match="expected one argument"):
        parse_options(TrainConfig, ["--reproduce"], prog="train", named=with_value[1])
