"""The traits of a model family that the rest of the system relies on, declared in the family's own module."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExecutionProfile:
    """The best way for a server to run a family, determined by measurement (docs/serving.md).

    Attributes
    ----------
    inline : bool
        Run batches on the event loop. This pays off for a model in pure Python that takes a fraction of a millisecond
        per text: a thread would compete with the loop for the GIL, and each switch costs more than the model. A model
        that releases the GIL while it computes belongs in a thread.
    max_batch : int
        Maximum number of texts per call. Inline, this bounds how long the loop is blocked; in a thread, larger batches
        contain more texts of similar length, so there is less padding.
    queue_room : int
        Number of requests that may always wait.
    """

    inline: bool
    max_batch: int
    queue_room: int


INLINE = ExecutionProfile(inline=True, max_batch=32, queue_room=64)
THREADED = ExecutionProfile(inline=False, max_batch=256, queue_room=128)


@dataclass(frozen=True)
class Traits:
    """Properties of a family that determine how it is scheduled, served, searched and reproduced.

    Attributes
    ----------
    gpu : bool
        Its fits and its packaged graph can use a GPU.
    additive : bool
        Its scorer gives each word's exact contribution to the logits (`polarity.inference.scorers.Additive`).
    exact : bool
        The same data and options give a bit-identical model, whatever the seed. Otherwise a reproduction matches if it
        lies within the intervals, and fits with several seeds show the spread.
    exhaustive_search : bool
        A search tries every combination of its options, however many there are, and fits each to the end.
    shard_rows : int
        Tweets per shard when scoring files: a few seconds of work.
    execution : ExecutionProfile
        How a server runs the family.
    """

    gpu: bool = False
    additive: bool = False
    exact: bool = False
    exhaustive_search: bool = False
    shard_rows: int = 20_000
    execution: ExecutionProfile = THREADED
