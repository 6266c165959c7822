"""Data quality gates based on Great Expectations.

The suites are the reviewed files under `expectations/`; they are never rewritten.
An expectation whose `meta.row_level` is true quarantines the rows that fail it;
any expectation that fails as a whole stops the flow.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polarity.config.settings import PROJECT
from polarity.errors import ArtifactError, DataRejected

if TYPE_CHECKING:
    import pandas as pd

SUITES = PROJECT / "expectations"

_GX_LOCK = threading.Lock()
"""Great Expectations has one project per process, and the tasks of a flow run as threads."""


@dataclass(frozen=True)
class Check:
    """The result of one expectation, with a readable message."""

    expectation: str
    column: str | None
    passed: bool
    row_level: bool
    message: str
    """The finding, used as the reason of a quarantine or rejection."""
    rows: tuple[int, ...] = ()
    """Numbers (`row`) of the rows that failed it (row-level expectations only)."""


@dataclass(frozen=True)
class GateResult:
    """The result of a suite on a data set."""

    suite: str
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that stop the flow."""
        return tuple(check for check in self.checks if not check.passed)

    def refuse(self, what: str) -> None:
        """Raise DataRejected with the messages of all failures, if there are any."""
        if self.failures:
            messages = ". ".join(check.message for check in self.failures)
            raise DataRejected(f"{what} failed the suite {self.suite}: {messages}.")

    def write(self, path: Path) -> None:
        """Write the result as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> GateResult:
        """Read what `write` wrote."""
        record = json.loads(path.read_text())
        checks = tuple(Check(**{**check, "rows": tuple(check["rows"])}) for check in record["checks"])
        return cls(record["suite"], checks)

    def reasons(self) -> dict[int, str]:
        """Return the reasons of each bad row by its number."""
        found: dict[int, list[str]] = {}
        for check in self.checks:
            for row in check.rows:
                found.setdefault(row, []).append(check.message)
        return {row: "; ".join(messages) for row, messages in sorted(found.items())}


def validate(frame: pd.DataFrame, *, suite: str, parameters: Mapping[str, Any], docs: Path) -> GateResult:
    """Run the suite `expectations/<suite>.json` on `frame` as a checkpoint and write its Data Docs.

    Parameters
    ----------
    frame : pandas.DataFrame
        Data to validate; needs a column `row` if the suite has row-level expectations.
    suite : str
        Name of the suite.
    parameters : mapping
        Values for the suite's `{"$PARAMETER": name}`.
    docs : Path
        Folder for the Data Docs.

    Raises
    ------
    ArtifactError
        If the suite cannot be read, or Great Expectations dropped an expectation that it could not parse.
    """
    with _GX_LOCK:
        return _validate(frame, suite, parameters, docs)


def _validate(frame: pd.DataFrame, suite: str, parameters: Mapping[str, Any], docs: Path) -> GateResult:
    context, gx = _context()
    path = SUITES / f"{suite}.json"
    reviewed = _reviewed(path)
    for existing in (context.checkpoints, context.validation_definitions, context.suites):
        if suite in {item.name for item in existing.all()}:
            existing.delete(suite)
    expectations = context.suites.add(gx.ExpectationSuite(**reviewed))
    if len(expectations.expectations) != len(reviewed["expectations"]):
        raise ArtifactError(
            f"{path} has {len(reviewed['expectations'])} expectations, of which Great Expectations could read only "
            f"{len(expectations.expectations)}; correct the type or the arguments of the others."
        )
    batch = context.data_sources.get("tweets").get_asset(suite).get_batch_definition("whole")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=suite, data=batch, suite=expectations))
    site = f"{suite} {docs}"
    context.add_data_docs_site(site_name=site, site_config=_site(docs))
    result_format: dict[str, Any] = {"result_format": "COMPLETE", "partial_unexpected_count": 20}
    if "row" in frame.columns:
        result_format["unexpected_index_column_names"] = ["row"]
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=suite,
            validation_definitions=[definition],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=[site])],
            result_format=result_format,
        )
    )
    try:
        outcome = checkpoint.run(batch_parameters={"dataframe": frame}, expectation_parameters=dict(parameters))
    finally:
        context.delete_data_docs_site(site)
    (validation,) = outcome.run_results.values()
    checks = tuple(_check(result, parameters) for result in validation.results)
    return GateResult(suite, checks)


def _reviewed(path: Path) -> dict[str, Any]:
    try:
        suite: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not suite["expectations"]:
            raise ValueError("it contains no expectations")
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is not a valid expectation suite: {error}.") from error
    return suite


@cache
def _context() -> tuple[Any, Any]:
    """Return the process's ephemeral context, with an asset for each suite."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    for logger in ("great_expectations", "great_expectations.data_context.types.base"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    source = context.data_sources.add_pandas("tweets")
    for suite in sorted(SUITES.glob("*.json")):
        source.add_dataframe_asset(suite.stem).add_batch_definition_whole_dataframe("whole")
    return context, gx


def _site(docs: Path) -> dict[str, Any]:
    from polarity.data.data_docs import EscapedPageView

    view = {"module_name": EscapedPageView.__module__, "class_name": EscapedPageView.__name__}
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "view": view},
        "site_section_builders": {section: {"view": view} for section in ("expectations", "validations")},
    }


def _check(result: Any, parameters: Mapping[str, Any]) -> Check:
    config = result.expectation_config
    given = {name: _filled(value, parameters) for name, value in config.kwargs.items()}
    found = result.result or {}
    meta = config.meta or {}
    exception = _exception(result)
    row_level = bool(meta.get("row_level"))
    indices = found.get("unexpected_index_list") or [] if row_level else []
    rows = tuple(int(entry["row"]) for entry in indices)
    message = exception or str(meta.get("reason", config.type)).format(
        **{"observed": found.get("observed_value"), "missing": found.get("partial_missing_list"), **given}
    )
    if row_level and not result.success and not exception:
        bad, of = found.get("unexpected_count", 0), found.get("element_count", 0)
        examples = sorted(
            {str(value)[:40] for value in found.get("partial_unexpected_list") or [] if value is not None}
        )
        message = f"{message}: {bad} of {of} rows ({bad / max(of, 1):.1%}), the first at row {min(rows, default=0)}" + (
            f", for example {', '.join(repr(example) for example in examples[:3])}" if examples else ""
        )
    return Check(config.type, given.get("column"), bool(result.success), row_level, message, rows)


def _filled(value: Any, parameters: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and "$PARAMETER" in value:
        return parameters[value["$PARAMETER"]]
    return value


def _exception(result: Any) -> str | None:
    info = result.exception_info or {}
    for entry in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if entry.get("raised_exception"):
            return f"{result.expectation_config.type} could not be checked: {entry.get('exception_message')}"
    return None
