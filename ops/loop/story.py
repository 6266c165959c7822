"""The story: what happens in the loop, one line an event, and what it leaves."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from flows.monitor import monitor
from ops.loop.kills import Kills, kill_training
from ops.loop.mailbox import Mailbox
from ops.loop.processes import TRAINING, Processes, wait_until
from ops.loop.report import Accuracy, BadChallenger, CanaryMove, Event, LoopReport, Window, draw, write_picture
from ops.loop.traffic import Clients
from ops.loop.tweets import Material, generated, real
from polarity.bento.server import BentoServer, stop
from polarity.bento.store import bento_folder
from polarity.config.settings import settings
from polarity.errors import PolarityError, ServiceUnavailable
from polarity.pipeline.config import CanaryConfig, MonitorConfig
from polarity.record.canary import CanaryState
from polarity.record.challenge import read_challenge
from polarity.record.history import Span, answers, pair_totals
from polarity.record.options import RecordOptions
from polarity.record.store import RecordStore
from polarity.record.windows import JudgedWindow, all_windows
from polarity.registry import promotion
from polarity.registry.versions import Registry
from polarity.watch.challenger import comparison_of

MONITOR_EVERY_S = 4.0
PATIENCE_S = 900.0
"""The longest wait for any single thing."""
# Through within minutes, on two cores that everything shares. A model that learned other tweets contradicts others.
RAILS = CanaryConfig(agreement=0.5, p99_s=1, requests=5, step_s=10, last_steps=1)
WINDOW: int = TRAINING["first"]["watch"]["drift"]["window"]
FASTEST, FAST, CALM = 250.0, 150.0, 20.0
"""Requests a second."""
ORDINARY = 20
"""Windows before the tweets change."""
SHUFFLED = 10_000
"""Tweets that the bad challenger is trained on."""
REPORTED = 0.5
"""Share of the answers to other tweets whose label users report."""


class Loop:
    """One run: its folder, its servers, and what has happened so far."""

    def __init__(self, folder: Path, material: Material, *, kill: bool = False) -> None:
        self.folder = folder
        self.home = settings().home
        self.material = material
        self.report = LoopReport()
        self.events: list[Event] = []
        self.started = time.time()
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
        self._log = (folder / "story.txt").open("a", encoding="utf-8")
        self._stack = ExitStack()
        self.processes = Processes(self.home, self._stack)
        self.kills = Kills(self.say) if kill else None
        self.record: RecordStore
        self.clients: Clients
        self.mailbox: Mailbox
        self.server: BentoServer
        self.not_recorded_once = 0
        self._judged: list[JudgedWindow] = []
        self._mails = 0

    def say(self, text: str, mark: str = "") -> None:
        """Print and keep an event."""
        event = Event(time.time(), text, mark)
        self.events.append(event)
        minutes, seconds = divmod(int(event.at - self.started), 60)
        self._console.print(Text.assemble((f"{minutes:02d}:{seconds:02d}  ", "bold"), text), soft_wrap=True)
        self._log.write(f"{minutes:02d}:{seconds:02d}  {text}\n")
        self._log.flush()

    def run(self) -> LoopReport:
        """Tell the whole story."""
        with self._stack:
            self.begin()
            champion = self.ordinary_traffic()
            candidate = self.other_traffic(champion)
            self.try_candidate(candidate)
            self.afterwards(champion, candidate)
            self.try_bad_challenger()
            self.settle()
        return self.report

    # --- the parts of the story

    def begin(self) -> None:
        """Start everything, train the first champion, and serve it."""
        self.say(f"The loop begins in {self.folder}: {self.material.about}.")
        self.mailbox = self._stack.enter_context(Mailbox())
        os.environ["POLARITY_ALERTS_TEAM"] = self.mailbox.url
        self.processes.start_prefect()
        tweets = self.processes.write("tweets.csv", self.material.training)
        self.say(f"Training the first champion on {len(self.material.training):,} tweets.", "training")
        if self.kills:
            self.processes.train(tweets, killed_after_s=20)
            self.say("kill -9: the training. It is started again.")
        self.processes.train(tweets)
        champion = Registry.open().champion()
        if champion is None:
            raise PolarityError(f"The first training has no champion; see {tweets.with_suffix('.log')}.")
        self.processes.deploy(tweets)
        self.say("train/on-drift waits for an event polarity.drift.")
        self.server = self.processes.serve("sentiment:latest", **self._variables())
        self.record = RecordStore(RecordOptions.read_enabled())
        self._stack.callback(self.record.close)
        self.clients = Clients(self.server.url)
        self._stack.callback(self.clients.close)
        self.say(f"{champion} is served at {self.server.url} as sentiment:latest.", "champion served")

    def ordinary_traffic(self) -> str:
        """Send tweets of the champion's kind; return its version."""
        tweets = self.material.ordinary[: ORDINARY * WINDOW]
        self.say(f"{len(tweets):,} ordinary tweets are sent, {FASTEST:.0f} a second.", "ordinary tweets")
        sending = self.clients.send(tweets, rate=FASTEST)
        self._kill_some()
        self.watch(sending.done)
        sending.result()
        if not self.kills:  # which cost requests
            self.watch(lambda: len(self._judged) >= ORDINARY)
        alarms = sum(window.effect > 1 for window in self._judged)
        measured = Accuracy.of([one for one in self.clients.sent if one.answered])
        assert measured is not None
        self.say(f"{len(self._judged)} ordinary windows: {alarms} alarms; {measured.accuracy:.1%} were right.")
        return self._judged[0].version

    def other_traffic(self, champion: str) -> str:
        """Send tweets of the other kind until a training has a candidate; return the tag of its Bento."""
        self.say(f"The tweets change; users report the label of {REPORTED:.0%} of the answers.", "other tweets")
        ordinary = len(self._judged)
        found: list[str] = []

        def candidate() -> bool:
            if not found:
                found.extend(self._candidates())
            return bool(found)

        labelled = self.clients.send(self.material.moved, rate=FAST, labelled=REPORTED, until=lambda: bool(found))
        self._kill_some()
        if self.kills:
            self.kills.soon("the training of train/on-drift", lambda: kill_training(self.processes.worker, 12))
        self.watch(lambda: any(window.effect > 1 for window in self._judged[ordinary:]))
        self.watch(lambda: labelled.done() or candidate())
        if not found:
            going_on = self.clients.send(itertools.cycle(self.material.moved), rate=CALM, until=lambda: bool(found))
            self.watch(candidate)
            going_on.result()
        labelled.result()
        moved = {one.tweet: one for one in self.clients.sent if one.tweet.kind == "moved" and one.version == champion}
        self.report.before = Accuracy.of(list(moved.values()))
        assert self.report.before is not None
        self.say(
            f"A training has a candidate, {found[0]}, after {self.clients.labels:,} labels. The champion is right in "
            f"{self.report.before.accuracy:.1%} of its answers to the other tweets.",
            "candidate",
        )
        return found[0]

    def try_candidate(self, tag: str) -> None:
        """Serve the candidate as the challenger, and wait until it has become champion."""
        with self._challenger(tag) as url:
            self._challenge(url, f"the candidate {tag}")
            done: list[bool] = []
            sending = self.clients.send(itertools.cycle(self.material.tried), rate=CALM, until=lambda: bool(done))
            moves = self._canary_until("promoted", "back", "unregistered")
            self.report.canary = moves
            state = self._canary()
            if self.kills and state.phase == "back":
                self._challenge(url, f"the candidate {tag}, which went back because it was killed,")
                self.report.canary = self._canary_until("promoted", "back", "unregistered")
                state = self._canary()
            if state.phase != "promoted":
                done.append(True)
                raise PolarityError(f"The candidate has not become champion: {state.phase}. {state.reason}")
            self.say(state.reason, "new champion")
            version = tag.partition(":")[2]
            wait_until(lambda: self._serves(version), "the server takes over the new champion")
            first = next(event.at for event in self.events if event.mark == "drift found")
            self.report.seconds_to_new_champion = time.time() - first
            self.say("The running server has taken it over; its connections stayed open.", "taken over")
            done.append(True)
            sending.result()

    def afterwards(self, before: str, candidate: str) -> None:
        """Measure the new champion on tweets that no model has learned from."""
        sending = self.clients.send(self.material.last, rate=FAST)
        self._kill_some()
        self.watch(sending.done)
        sending.result()
        version = candidate.partition(":")[2]
        last = {id(tweet) for tweet in self.material.last}
        self.report.after = Accuracy.of(
            [one for one in self.clients.sent if id(one.tweet) in last and one.version == version]
        )
        was, now = self.report.before, self.report.after
        assert was is not None
        if now is None:
            raise PolarityError(f"{version} has answered nothing, although it is the champion instead of {before}.")
        self.say(
            f"On the other tweets {now.accuracy:.1%} ({now.interval[0]:.1%} to {now.interval[1]:.1%}) are right now, "
            f"{was.accuracy:.1%} ({was.interval[0]:.1%} to {was.interval[1]:.1%}) were before."
        )

    def try_bad_challenger(self) -> None:
        """Train a model on shuffled labels, and try it against the advice of its training."""
        tweets = self.material.training[:SHUFFLED]
        labels = [tweet.label for tweet in tweets]
        random.Random(29).shuffle(labels)
        shuffled = [tweet._replace(label=label) for tweet, label in zip(tweets, labels)]
        self.say("A model is trained on shuffled labels.", "bad challenger")
        file = self.processes.write("shuffled.csv", shuffled)
        if self.kills:
            self.processes.train(file, "--task", "shuffled", killed_after_s=15)
            self.say("kill -9: its training. It is started again.")
        self.processes.train(file, "--task", "shuffled")
        registry = Registry.open(task="shuffled")
        if registry.champion() is None:
            self.say("Its training refuses to make a Bento of it. Somebody makes one all the same.")
        (version, *_) = registry.versions()
        tag = promotion.ensure_bento(registry, version)
        with self._challenger(tag) as url:
            self._challenge(url, f"{tag}, trained on shuffled labels")
            done: list[bool] = []
            sending = self.clients.send(itertools.cycle(self.material.tried), rate=CALM, until=lambda: bool(done))
            self._canary_until("promoted", "back", "unregistered")
            state = self._canary()
            time.sleep(3)  # until the servers have heard of it, which costs what the challenger still answers
            done.append(True)
            sending.result()
        answers = sum(one.version == tag.partition(":")[2] for one in self.clients.sent)
        self.report.bad_challenger = BadChallenger(answers, f"{state.phase}: {state.reason}")
        self.say(f"It gave {answers:,} answers to clients.", "gone back")
        self.processes.run("challenge", "--stop", "--reason", "the loop ends")
        if self.kills:
            self.processes.run("doctor", "--mend")
            self.say("`polarity doctor --mend` repairs what the killed trainings left behind.")
        self.processes.run("doctor")
        self.say("`polarity doctor` finds the registry, the Bentos and the results consistent.")

    def settle(self) -> None:
        """Let the monitor look a last time, and count."""
        if self.kills:
            self.kills.finish()
        self.look()
        sent = self.clients.sent
        report = self.report
        report.sent, report.answered = len(sent), sum(one.answered for one in sent)
        report.lost = report.sent - report.answered
        recorded = Counter(answer.id for answer in answers(self.record, Span(self.started, time.time() + 1)))
        self.not_recorded_once = sum(one.answered and recorded[one.prediction_id] != 1 for one in sent)
        report.windows = [Window.of(window, sent) for window in self._judged]
        report.detect()
        report.mails = list(self.mailbox.subjects)

    # --- what happens to the processes

    def _kill_some(self, challenger: Callable[[], object] | None = None) -> None:
        """Kill a monitor, the server and the challenger, if there is one, in this part of the story."""
        if not self.kills:
            return
        self.kills.finish()
        self.kills.monitor("--canary", RAILS.model_dump_json())

        def server() -> None:
            self.server = self.processes.restart(self.server, "sentiment:latest", **self._variables())

        self.kills.soon("the server. It is started again", server)
        if challenger is not None:
            self.kills.soon("the challenger. It is started again", challenger)

    @contextmanager
    def _challenger(self, tag: str) -> Iterator[str]:
        """Serve a Bento beside the champion; yield the address."""
        running = [self.processes.serve(bento_folder(tag))]
        self._kill_some(lambda: running.append(self.processes.restart(running[-1], bento_folder(tag))))
        try:
            yield running[-1].url
            if self.kills:
                self.kills.finish()
        finally:
            stop(running[-1].process)

    def _variables(self) -> dict[str, str]:
        names = ("BENTOML_HOME", "POLARITY_PREDICTION_LOG")
        return {**{name: os.environ[name] for name in names}, "POLARITY_LOG_REVIEW_SHARE": "0.05"}

    # --- what the people and the schedule do

    def look(self) -> None:
        """Run the monitor once, and tell what it found."""
        state: Any = monitor(MonitorConfig(canary=RAILS), return_state=True)
        if not state.is_completed():
            self.say(f"The monitor failed: {state.message}")
        known = {window.id for window in self._judged}
        for window in all_windows(self.record):
            if window.id not in known:
                self._judged.append(window)
                new = not any(before.version == window.version and before.effect > 1 for before in self._judged[:-1])
                if window.effect > 1 and new:
                    self.say(f"Drift from what {window.version} knows: {window.summary}.", "drift found")
        for subject in self.mailbox.subjects[self._mails :]:
            self.say(f"Mail: {subject}", "")
        self._mails = len(self.mailbox.subjects)

    def watch(self, condition: Callable[[], bool]) -> None:
        """Run the monitor every few seconds until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"The loop has waited for {PATIENCE_S:.0f} s in vain.")
            began = time.monotonic()
            self.look()
            while time.monotonic() < began + MONITOR_EVERY_S and not condition():
                time.sleep(0.5)

    def _canary_until(self, *phases: str) -> list[CanaryMove]:
        """Watch until the canary is in one of the phases; return its moves."""
        moves: list[CanaryMove] = []
        last = [self._canary()]

        def moved() -> bool:
            state, before = self._canary(), last[0]
            if (state.phase, state.share) != (before.phase, before.share):
                last[0] = state
                labels = self._comparison_labels(state)
                decision = "up" if state.phase == "running" else state.phase
                moves.append(CanaryMove(before.share, labels, decision))
                if state.phase != "promoted":
                    self.say(
                        f"Canary {decision}, {state.clients:.0%} of the clients after {labels} labels. {state.reason}",
                        f"{state.clients:.0%}" if state.phase == "running" else decision,
                    )
            return state.phase in phases

        self.watch(moved)
        return moves

    def _canary(self) -> CanaryState:
        found = read_challenge(self.record)
        return CanaryState() if found is None else found.canary

    def _comparison_labels(self, state: CanaryState) -> int:
        span = Span(state.began, time.time())
        mine = [total for total in pair_totals(self.record, span) if total.challenger == state.version]
        return sum(comparison_of(self.record, span, total).labels for total in mine)

    def _challenge(self, url: str, what: str) -> None:
        self.processes.run("challenge", url, "--canary", "--reason", what)
        self.say(f"{what} is served at {url}, and challenges the champion.", "challenger")

    def _candidates(self) -> list[str]:
        registry = Registry.open()
        champion = registry.champion()
        newer = [v for v in registry.versions() if champion is not None and v.number > champion.number and v.bento]
        return [version.bento for version in newer if version.bento]

    def _serves(self, version: str) -> bool:
        return str(httpx.get(f"{self.server.url}/", trust_env=False).json()["version"]) == version


def main() -> int:
    """Run the loop in the folder that is named on the command line; 1 if something did not go as it should."""
    folder, tweets = Path(sys.argv[1]), sys.argv[2]
    keep, kill = "--keep" in sys.argv, "--kill" in sys.argv
    if tweets:
        material = real(Path(tweets), training=40_000, ordinary=12_000, last=3_000)
    else:
        material = generated(training=8_000, ordinary=12_000, moved=20_000, last=2_000)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers and their folders go, too
    loop = Loop(folder, material, kill=kill)
    try:
        report = loop.run()
    except PolarityError as error:
        loop.say(str(error))
        return 1
    report.write(folder)
    write_picture(draw(report, loop.clients.sent, loop.events, loop.started), folder)
    loop.say(f"{report.sent:,} requests were sent, {report.lost} lost. The record is in {folder}: loop.json, loop.png.")
    found = report.shortcomings(killed=kill)
    if loop.not_recorded_once:
        found.append(f"{loop.not_recorded_once} answers are not in the record, or are there twice.")
    for shortcoming in found:
        loop.say(shortcoming)
    if not keep and not found:
        shutil.rmtree(loop.home)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
