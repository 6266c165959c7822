"""Alerts and notices are noted once, also by concurrent processes, and sent until they have been accepted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from polarity.record.alert_book import Address, AlertBook, Text
from polarity.record.spool import local_engine

TEAM, BOSS = Address("team", "1"), Address("boss", "2")


@pytest.fixture
def book(tmp_path: Path) -> AlertBook:
    return AlertBook(local_engine(tmp_path / "log.db"))


def start(book: AlertBook, now: float, *addresses: Address, source: str = "", cooldown_s: float = 0.0) -> bool:
    return book.start(
        "negatives",
        source,
        severity="info",
        summary="3 answers",
        text=Text("firing", "body"),
        addresses=addresses,
        now=now,
        cooldown_s=cooldown_s,
    )


def end(book: AlertBook, now: float, source: str = "") -> bool:
    return book.end("negatives", source, text=Text("resolved", "body"), now=now)


def send_all(book: AlertBook, now: float) -> list[tuple[str, str]]:
    sent = []
    for notice in book.unsent(now):
        assert book.claim(notice, now)
        sent.append((notice.change, notice.address.channel))
        book.note_sent(notice, now)
    return sent


def test_start_and_end_are_sent_once(book: AlertBook) -> None:
    assert start(book, 100, TEAM)
    assert not start(book, 160, TEAM)
    assert [(alert.rule, alert.started_at) for alert in book.firing()] == [("negatives", 100.0)]
    assert send_all(book, 160) == [("firing", "team")]
    assert send_all(book, 160) == []
    assert end(book, 400)
    assert not end(book, 460)
    assert book.firing() == []
    assert send_all(book, 460) == [("resolved", "team")]
    assert start(book, 500, TEAM), "the next time is another alert"
    assert send_all(book, 500) == [("firing", "team")]


def test_an_address_that_is_added_later_is_notified_too(book: AlertBook) -> None:
    start(book, 100)
    assert send_all(book, 100) == []
    start(book, 160, TEAM)
    start(book, 220, TEAM, BOSS)
    assert send_all(book, 220) == [("firing", "team"), ("firing", "boss")]
    end(book, 300)
    assert sorted(send_all(book, 300)) == [("resolved", "boss"), ("resolved", "team")]


def test_sources_have_alerts_of_their_own(book: AlertBook) -> None:
    assert start(book, 100, TEAM, source="shop")
    assert start(book, 100, TEAM, source="app")
    assert end(book, 200, "shop")
    assert [alert.source for alert in book.firing()] == ["app"]


def test_cooldown_keeps_an_alert_from_coming_back_at_once(book: AlertBook) -> None:
    start(book, 100, TEAM, cooldown_s=600)
    end(book, 200)
    assert not start(book, 300, TEAM, cooldown_s=600)
    assert book.firing() == []
    assert start(book, 800, TEAM, cooldown_s=600)


def test_the_end_waits_for_the_start_at_the_same_address(book: AlertBook) -> None:
    start(book, 100, TEAM, BOSS)
    end(book, 200)
    assert [(n.change, n.address.channel) for n in book.unsent(200)] == [("firing", "boss"), ("firing", "team")]
    boss = book.unsent(200)[0]
    book.claim(boss, 200)
    book.note_sent(boss, 200)
    assert [(n.change, n.address.channel) for n in book.unsent(201)] == [("firing", "team"), ("resolved", "boss")]


def test_what_is_not_accepted_is_sent_again_under_the_same_id(book: AlertBook) -> None:
    start(book, 100, TEAM)
    (first,) = book.unsent(100)
    assert book.claim(first, 100)
    book.note_failure(first, "connection refused", 101)
    assert book.waiting() == 1
    (again,) = book.unsent(110)
    assert (again.id, again.tries) == (first.id, 1)


def test_a_claim_keeps_others_away_until_its_holder_must_be_dead(book: AlertBook) -> None:
    start(book, 100, TEAM)
    (notice,) = book.unsent(100)
    assert book.claim(notice, 100)
    assert not book.claim(notice, 110)
    assert book.unsent(110) == []
    assert [again.id for again in book.unsent(140)] == [notice.id], "its holder was killed"
    assert book.claim(notice, 140)


def test_of_processes_at_the_same_time_one_starts_it(tmp_path: Path) -> None:
    books = [AlertBook(local_engine(tmp_path / "log.db")) for _ in range(8)]
    started: list[bool] = []
    threads = [threading.Thread(target=lambda b=b: started.append(start(b, 100, TEAM))) for b in books]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [False] * 7 + [True]
    assert len(books[0].unsent(100)) == 1
