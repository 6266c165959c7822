"""What a client sent to find its request again, and what it gets back."""

from __future__ import annotations

import pytest

from polarity.serving.trace_context import TraceContext, correlation

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
VALID = b"00-%s-%s-01" % (TRACE, SPAN)


def test_valid_traceparent_is_given_back_as_it_came() -> None:
    context = TraceContext.parse(VALID)
    assert context is not None and context.sampled and context.header() == VALID
    assert correlation([(b"traceparent", b" " + VALID)]).headers() == ((b"traceparent", VALID),)


def test_child_is_in_the_same_trace() -> None:
    context = TraceContext.parse(VALID)
    assert context is not None
    child = context.child()
    assert (child.trace_id, child.flags) == (context.trace_id, context.flags) and child.span_id != context.span_id


def test_later_version_is_read_as_far_as_it_is_known() -> None:
    context = TraceContext.parse(b"cc-%s-%s-ff-what-comes-later" % (TRACE, SPAN))
    assert context is not None and context.header() == b"00-%s-%s-03" % (TRACE, SPAN)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        VALID[:-1],
        VALID + b"0",
        VALID + b"-more",
        VALID.upper(),
        b"ff" + VALID[2:],
        b"00-%s-%s-01" % (b"0" * 32, SPAN),
        b"00-%s-%s-01" % (TRACE, b"0" * 16),
        b"00-%s-%s-0g" % (TRACE, SPAN),
        b"cc-%s-%s-01.more" % (TRACE, SPAN),
        VALID + b"\xff",
    ],
)
def test_malformed_traceparent_counts_as_absent(value: bytes) -> None:
    assert TraceContext.parse(value) is None
    assert correlation([(b"traceparent", value)]).headers() == ()


@pytest.mark.parametrize("value", [b"x", b"!~", b"a" * 128, b"7f3e:/order?7"])
def test_wellformed_request_id_is_given_back(value: bytes) -> None:
    assert correlation([(b"x-request-id", value)]).headers() == ((b"x-request-id", value),)


@pytest.mark.parametrize("value", [b"", b"a" * 129, b"two words", "é".encode(), b"a\tb", b"a\r\nset-cookie:b", b"\x7f"])
def test_malformed_request_id_is_not_given_back(value: bytes) -> None:
    assert correlation([(b"x-request-id", value)]).headers() == ()


def test_header_that_occurs_twice_is_malformed() -> None:
    twice = [(b"traceparent", VALID), (b"x-request-id", b"a")] * 2
    assert correlation(twice).headers() == ()
