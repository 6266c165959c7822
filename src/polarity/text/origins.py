"""Where the tweets of a snapshot come from, as their column `_origin` has it."""

ORIGIN = "_origin"
OLD, FEEDBACK, COLLECTED, DISTANT = "old", "feedback", "collected", "distant"
RECENT = (FEEDBACK, COLLECTED)
"""Those whose labels people gave after the file was made; they are measured apart."""
