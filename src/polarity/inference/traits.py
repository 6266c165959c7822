"""What the rest of the system needs to know of a family of models, declared in the family's own module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExecutionProfile:
    """How a server runs a family best, found by measurement (docs/serving.md).

    Attributes
    ----------
    inline : bool
        Run batches on the event loop. Pays for a model of Python code that takes a fraction of a millisecond a
        text: a thread would share the interpreter with the loop, and every switch costs more than the model.
        A model that releases the interpreter while it computes belongs in a thread.
    max_batch : int
        Texts per call. Inline, this bounds how long the loop is blocked; in a thread, larger batches hold more texts
        of similar length, so less is padded.
    queue_room : int
        Requests that may always wait.
    """

    inline: bool
    max_batch: int
    queue_room: int


INLINE = ExecutionProfile(inline=True, max_batch=32, queue_room=64)
THREADED = ExecutionProfile(inline=False, max_batch=256, queue_room=128)


@dataclass(frozen=True)
class Traits:
    """Properties of a family that decide how it is scheduled, served, searched and reproduced.

    Attributes
    ----------
    gpu : bool
        Its fits and its packaged graph can use a GPU.
    additive : bool
        Its scorer knows exactly what each word adds to the logits (`polarity.inference.scorers.Additive`).
    exact : bool
        The same data and options give the same model to the last digit, whatever the seed. Otherwise a reproduction
        agrees if it lies within the intervals, and fits under several seeds show the spread.
    exhaustive_search : bool
        A search tries every combination of its options, however many there are.
    shard_rows : int
        Tweets per shard when files are scored: a few seconds of work.
    execution : ExecutionProfile
        How a server runs it.
    """

    gpu: bool = False
    additive: bool = False
    exact: bool = False
    exhaustive_search: bool = False
    shard_rows: int = 20_000
    execution: ExecutionProfile = THREADED
