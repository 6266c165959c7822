"""How often drift is found where there is none, and where there is: a simulation on real tweets.

    python -m benchmarks.drift [--tweets FILE] [--other FILE] [--windows 2000] [--splits 20] [--trials 100] [--peers P]

A logistic regression is trained on 60 % of FILE (the sample of Sentiment140). Half of the tweets that it was not fitted
on are the held-out tweets of which the reference is made; windows are drawn from the other half. False alarms are
counted with several divisions into halves. All tests are done on every window, with all texts and labels known. A
trial of an injected drift is two windows one after the other. With `--peers`, the Python of an environment that has
Evidently and NannyML, these judge the same windows, and a second table compares them with ours. They get no texts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from scipy import sparse

from benchmarks.estimates.stream import SEED, answered, as_tweets, fit_logistic, read_frame, split
from benchmarks.results import machine, table, write
from polarity.config.settings import PROJECT
from polarity.families.logistic import FittedLogistic
from polarity.text.words import KnownWords, words_of
from polarity.watch.drift import DESCRIPTORS, AnsweredTweets, DriftReference, DriftResult
from polarity.watch.estimates import score_interval
from polarity.watch.expected_accuracy import ConfidenceCalibration

DATA = PROJECT.parent / "shared" / "data"
WINDOW, RATE = 500, 0.01
FLIPPED = "love"
Rows = npt.NDArray[np.int64]


class Pool:
    """Tweets of the stream, whole or changed, as the served model answers them."""

    def __init__(self, train: pd.DataFrame, validation: pd.DataFrame) -> None:
        self.model: FittedLogistic = fit_logistic(train, validation)
        self.known = KnownWords.of(as_tweets(train).texts)
        checked = answered(validation, self.model)
        self.calibration = ConfidenceCalibration.fit(checked.confidence, checked.correct)

    def answer(self, texts: list[str], labels: npt.ArrayLike | None = None) -> AnsweredTweets:
        """Tweets with the model's probabilities; without labels, none of them is known."""
        found = AnsweredTweets.of(
            texts,
            self.model.predict_proba(texts),
            labels=labels,
            calibration=self.calibration,
            known=self.known,
        )
        return found if labels is not None else replace(found, correct=np.full(len(texts), np.nan))


def calibrate(held_out: AnsweredTweets, seed: int = 0) -> DriftReference:
    """Return the reference of held-out tweets."""
    reference = DriftReference.build(held_out, ("negative", "positive"), window=WINDOW, rate=RATE, seed=seed)
    assert reference is not None, f"{len(held_out)} held-out tweets are too few"
    return reference


def without_drift(
    tweets: AnsweredTweets, windows: int, splits: int
) -> Iterator[tuple[AnsweredTweets, list[AnsweredTweets]]]:
    """Draw windows without drift, with another half of the tweets as the held-out ones in each split.

    Windows of one split have a reference and a pool of tweets in common, and chance makes those differ: only the rates
    of the splits are independent of each other.
    """
    for number in range(splits):
        random = np.random.default_rng([SEED, number])
        order = random.permutation(len(tweets))
        half = len(tweets) // 2
        drawn = [tweets[random.choice(order[half:], WINDOW, replace=False)] for _ in range(windows // splits)]
        yield tweets[order[:half]], drawn


def joined(first: AnsweredTweets, second: AnsweredTweets) -> AnsweredTweets:
    """Both together."""
    return AnsweredTweets(
        np.concatenate([first.scores, second.scores]),
        np.concatenate([first.descriptors, second.descriptors]),
        [*first.scripts, *second.scripts],
        sparse.csr_matrix(sparse.vstack([first.words, second.words])),
        np.concatenate([first.expected, second.expected]),  # type: ignore[list-item]
        np.concatenate([first.correct, second.correct]),  # type: ignore[list-item]
    )


def misspelt(text: str, random: np.random.Generator) -> str:
    """Swap two neighbouring letters inside each word of four letters and more."""
    words = text.split(" ")
    for place, word in enumerate(words):
        if len(word) > 3 and word.isalpha():
            at = int(random.integers(1, len(word) - 2))
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def spanish() -> list[str]:
    """The sentences of the behaviour tests in another language."""
    content = yaml.safe_load((PROJECT / "expectations" / "behaviour" / "es.yaml").read_text(encoding="utf-8"))

    def strings(found: object) -> list[str]:
        if isinstance(found, str):
            return [found]
        parts = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        return [text for part in parts for text in strings(part)]

    return sorted({text for text in strings(content) if len(text.split()) > 2 and "{" not in text})


def frame(tweets: AnsweredTweets) -> pd.DataFrame:
    """What the peers read: descriptors, score and predicted sentiment, and the label, 0 or 1, where it is known."""
    assert tweets.correct is not None
    sentiment = tweets.scores.argmax(axis=1)
    label = np.where(np.isnan(tweets.correct), np.nan, np.where(tweets.correct == 1, sentiment, 1 - sentiment))
    described = pd.DataFrame(tweets.descriptors, columns=list(DESCRIPTORS[:7]))
    script = [found or "none" for found in tweets.scripts]
    return described.assign(score=tweets.scores[:, 1], sentiment=sentiment, label=label, script=script)


def judge_with_peers(python: Path, groups: Mapping[str, tuple[AnsweredTweets, list[AnsweredTweets]]]) -> dict[str, Any]:
    """Let Evidently and NannyML judge windows, each group with held-out tweets of its own.

    Returns
    -------
    dict
        By tool: the `version`, the `seconds` for a window, and by group and detector whether each window `alarms`.
    """
    with TemporaryDirectory() as folder:
        for place, (held_out, windows) in enumerate(groups.values()):
            group = Path(folder, f"{place:03}")
            group.mkdir()
            frame(held_out).to_parquet(group / "reference.parquet")
            pd.concat([frame(window) for window in windows]).to_parquet(group / "windows.parquet", index=False)
        script = Path(__file__).with_name("drift_peers.py")
        done = subprocess.run([python, "-W", "ignore", script, folder], stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for judged in found.values():
        judged["alarms"] = dict(zip(groups, judged["alarms"].values(), strict=True))
    return found


def beside_peers(judged: Mapping[str, Any], ours: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return by drift and detector the share of the trials in which a window alarms.

    Parameters
    ----------
    judged : mapping
        What `judge_with_peers` returned; groups that are not in `ours` are windows without drift.
    ours : mapping of str to float
        Our shares: of the windows without drift (`none`), and of the trials of each drift.
    """
    shares = {name: {"ours": share} for name, share in ours.items()}
    for tool, of in judged.items():
        undrifted = [alarms for group, alarms in of["alarms"].items() if group not in ours]
        for detector in undrifted[0]:
            column = f"{tool}: {detector}"
            shares["none"][column] = float(np.mean([alarms[detector] for alarms in undrifted]))
            for name, alarms in of["alarms"].items():
                if name in ours:
                    shares[name][column] = float(np.reshape(alarms[detector], (-1, 2)).any(axis=1).mean())
    return shares


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tweets", type=Path, default=DATA / "sentiment140_sample.csv.gz")
    parser.add_argument("--other", type=Path, default=DATA / "sanders_full_corpus.csv.gz")
    parser.add_argument("--windows", type=int, default=2000, help="without drift")
    parser.add_argument("--splits", type=int, default=20, help="into held-out tweets and others, for those windows")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="that of benchmarks/requirements-peers.lock")
    options = parser.parse_args()
    start = machine()
    train, validation, rest = split(read_frame(options.tweets))
    half = len(rest) // 2
    pool = Pool(train, validation)
    texts, labels = rest["text"].tolist(), rest["label"].to_numpy()
    started = perf_counter()
    held_out = pool.answer(texts[:half], labels[:half])
    reference = calibrate(held_out)
    seconds = perf_counter() - started
    random = np.random.default_rng(SEED)
    later, truth = texts[half:], labels[half:]
    stream = pool.answer(later, truth)
    every = np.arange(len(stream))

    by_split, groups = [], {}
    for number, group in enumerate(without_drift(joined(held_out, stream), options.windows, options.splits)):
        of_split = calibrate(group[0], seed=number)
        by_split.append([of_split.judge(window) for window in group[1]])
        if options.peers:
            groups[f"split {number}"] = group
    results = [result for split_results in by_split for result in split_results]
    alarms = sum(result.drifted for result in results)
    rates = np.array([np.mean([result.drifted for result in of]) for of in by_split])
    share = alarms / len(results)
    worth = share * (1 - share) / max(rates.var(ddof=1) / len(rates), 1e-12)
    low, high = score_interval(share, worth, degrees=len(rates) - 1)

    positive, negative = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    other = pool.answer(read_frame(options.other)["text"].tolist())
    wrong = pool.answer([misspelt(text, random) for text in later], truth)
    foreign = pool.answer(spanish())
    pictured = pool.answer([f"{text} 😂" for text in later], truth)
    doubled = pool.answer([f"{a} {b}" for a, b in zip(later, later[1:] + later[:1])], truth)
    about = np.array([FLIPPED in words_of(text) for text in later])
    assert stream.correct is not None
    flipped = replace(stream, correct=np.where(about, 1 - stream.correct, stream.correct))

    def mixed(changed: AnsweredTweets, share: float) -> AnsweredTweets:
        count = round(share * WINDOW)
        rows = random.choice(len(changed), count, replace=count > len(changed))
        return joined(stream[random.choice(every, WINDOW - count, replace=False)], changed[rows])

    def with_positives(share: float) -> AnsweredTweets:
        count = round(share * WINDOW)
        rows = [random.choice(positive, count, replace=False), random.choice(negative, WINDOW - count, replace=False)]
        return stream[np.concatenate(rows)]

    def with_bot(share: float) -> AnsweredTweets:
        count = round(share * WINDOW)
        repeated = np.full(count, random.choice(every))
        return stream[np.concatenate([repeated, random.choice(every, WINDOW - count, replace=False)])]

    drifts = {
        "share of positives 50 to 60 %": lambda: with_positives(0.6),
        "share of positives 50 to 70 %": lambda: with_positives(0.7),
        "another topic in 10 %": lambda: mixed(other, 0.1),
        "another topic in 20 %": lambda: mixed(other, 0.2),
        "10 % misspelt": lambda: mixed(wrong, 0.1),
        "30 % misspelt": lambda: mixed(wrong, 0.3),
        "another language in 5 %": lambda: mixed(foreign, 0.05),
        "another language in 10 %": lambda: mixed(foreign, 0.1),
        "emoji in 5 %": lambda: mixed(pictured, 0.05),
        "emoji in 10 %": lambda: mixed(pictured, 0.1),
        "two tweets in one in 10 %": lambda: mixed(doubled, 0.1),
        "two tweets in one in 30 %": lambda: mixed(doubled, 0.3),
        "a bot that repeats itself, 5 %": lambda: with_bot(0.05),
        "a bot that repeats itself, 10 %": lambda: with_bot(0.1),
        f"labels flipped for one word ({FLIPPED}, {about.mean():.1%} of the tweets)": lambda: flipped[
            random.choice(every, WINDOW, replace=False)
        ],
    }
    rows, by_drift = [], {}
    for name, draw in drifts.items():
        windows = [draw() for _ in range(2 * options.trials)]
        if options.peers:
            groups[name] = (held_out, windows)
        seen = [reference.judge(window) for window in windows]
        trials = list(zip(seen[::2], seen[1::2], strict=True))
        found = sum(any(result.drifted for result in trial) for trial in trials) / options.trials
        first = sum(trial[0].drifted for trial in trials) / options.trials
        by_test = {test: sum(of.effects[test] > 1 for of in seen) / len(seen) for test in seen[0].effects}
        rows.append([name, f"{found:.0%}", f"{first:.0%}", *(f"{share:.0%}" for share in by_test.values())])
        by_drift[name] = {"within_two": found, "first": first, "by_test": by_test}
    by_test = {test: share_of(results, test) for test in results[0].effects}
    rows.insert(0, ["none", "", f"{share:.2%}", *(f"{of:.2%}" for of in by_test.values())])
    parts = [
        start,
        f"{len(held_out):,} held-out tweets; calibrated in {seconds:.1f} s; {len(results):,} windows of "
        f"{WINDOW} without drift, of {len(rates)} splits: {alarms} alarms, {share:.2%} (95 % interval {low:.2%} to "
        f"{high:.2%}; by split {rates.min():.0%} to {rates.max():.0%})",
        table(["drift", "found within two windows", "in one", *(f"by {test}" for test in by_test)], rows),
    ]
    undrifted = {
        "windows": len(results),
        "alarms": alarms,
        "interval": [low, high],
        "splits": rates.tolist(),
        "by_test": by_test,
    }
    figures: dict[str, Any] = {"machine": start, "undrifted": undrifted, "drifts": by_drift}
    if options.peers:
        judged = judge_with_peers(options.peers, groups)
        ours = {"none": share} | {name: of["within_two"] for name, of in by_drift.items()}
        beside = beside_peers(judged, ours)
        tools = {f"{tool} ({of['version']})": of["seconds"] for tool, of in judged.items()}
        figures["peers"] = {"seconds": tools, "found": beside}
        parts += [
            f"Found within two windows, in {options.trials} trials of each drift. Seconds for a window: "
            + ", ".join(f"{tool}: {seconds:.2f}" for tool, seconds in tools.items()),
            table(
                ["drift", *beside["none"]],
                [
                    [name, *(f"{of:.0%}" if name in drifts else f"{of:.2%}" for of in found.values())]
                    for name, found in beside.items()
                ],
            ),
        ]
    write("drift", "\n\n".join(parts) + "\n", figures)


def share_of(results: list[DriftResult], test: str) -> float:
    """Share of the results in which a test alarms."""
    return sum(result.effects[test] > 1 for result in results) / len(results)


if __name__ == "__main__":
    main()
