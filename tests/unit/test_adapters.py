"""Each library whose inside we use has one adapter; when the library moves, this says what to look at."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest

from bentos.bentoml_service import BENTOML as SERVED_BENTOML
from bentos.connection import UVICORN
from flows.adapter import PREFECT
from polarity.bento.bentoml_store import BENTOML
from polarity.config.settings import PROJECT
from polarity.data.data_docs import GREAT_EXPECTATIONS
from polarity.families.one_cycle import KTRAIN
from polarity.families.training_state import KERAS
from polarity.registry.mlflow_client import MLFLOW
from polarity.selection.optuna_trials import OPTUNA
from polarity.watch.channels import APPRISE

ADAPTERS = {
    "src/polarity/bento/bentoml_store.py": (
        "bentoml",
        BENTOML,
        "that bentoml.bentos.get, list and delete still take `_bento_store`, that `Bento.info` is an attrs class with "
        "`tag`, `creation_time` and `dump`, and where the store keeps the pointer `latest`",
    ),
    "bentos/bentoml_service.py": (
        "bentoml",
        SERVED_BENTOML,
        "that the supervisor still asks `Service.all_services(exclude_urls=True)` which services to start, and takes "
        "the application from `Service.to_asgi(is_main)`; that this is a Starlette application with CORSMiddleware in "
        "`user_middleware` where `http.cors.enabled` is set, and with TimeoutMiddleware, whose one option is `timeout`",
    ),
    "bentos/connection.py": (
        "uvicorn",
        UVICORN,
        "HttpToolsProtocol in uvicorn/protocols/http/httptools_impl.py: how __init__ makes `parser`, data_received, "
        "on_message_begin and _complete, on_headers_complete, _should_upgrade, on_response_complete, "
        "timeout_keep_alive_handler, STATUS_LINE, and HTTP_PROTOCOLS in uvicorn/config.py",
    ),
    "src/polarity/data/data_docs.py": (
        "great-expectations",
        GREAT_EXPECTATIONS,
        "DefaultJinjaView in great_expectations/render/view/view.py: `env`, `render_content_block`, how plain strings "
        "reach a page; the templates page, section, bootstrap_table, collapse and graph, and what they are given",
    ),
    "src/polarity/families/one_cycle.py": (
        "ktrain",
        KTRAIN,
        "how Learner.fit_onecycle makes CyclicLR, and what CyclicLR.on_train_begin and on_batch_end keep between "
        "batches (clr_iterations, overhump, base_lr)",
    ),
    "src/polarity/families/training_state.py": (
        "tf-keras",
        KERAS,
        "that layers with random numbers have `_random_generator._generator`, a tf.random.Generator, after "
        "enable_tf_random_generator()",
    ),
    "src/polarity/registry/mlflow_client.py": (
        "mlflow",
        MLFLOW,
        "SystemMetricsMonitor (collect_metrics, aggregate_metrics, publish_metrics), "
        "get_artifact_repository(...).delete_artifacts(), and that mlflow.store.db.utils._initialize_tables makes a "
        "complete database",
    ),
    "flows/adapter.py": (
        "prefect",
        PREFECT,
        "prefect.utilities.callables.get_call_parameters, and that a returned state still ends a task or a flow",
    ),
    "src/polarity/watch/channels.py": (
        "apprise",
        APPRISE,
        "that apprise/plugins/email/base.py gives every mail `make_msgid(...)` as its only Message-ID, and that the "
        "logger `apprise` says why a message was not accepted",
    ),
    "src/polarity/selection/optuna_trials.py": (
        "optuna",
        OPTUNA,
        "storage.get_trial_id_from_study_id_trial_number, and `fixed_params` in the system attributes of a trial that "
        "is enqueued",
    ),
}


@pytest.mark.parametrize("file", ADAPTERS)
def test_an_adapter_was_checked_against_the_installed_version(file: str) -> None:
    library, checked, what = ADAPTERS[file]
    assert version(library) == checked, (
        f"{library} is {version(library)} now, and {file} was checked against {checked}. Look whether {what}; run the "
        "tests, then change the version in the adapter."
    )


INTERNALS = ("bentoml._internal", "bentoml.bentos", "uvicorn.protocols", "uvicorn.config", "mlflow.system_metrics",
             "mlflow.store", "great_expectations.render", "prefect.utilities", "prefect._internal",
             "optuna.storages._", "optuna._", "ktrain.lroptimize")  # fmt: skip


def test_only_adapters_reach_into_libraries() -> None:
    found = {
        f"{path.relative_to(PROJECT)}: {name}"
        for folder in ("src", "flows", "bentos", "ops")
        for path in (PROJECT / folder).rglob("*.py")
        if path.relative_to(PROJECT).as_posix() not in ADAPTERS
        for name in _imported(path)
        if name.startswith(INTERNALS)
    }
    assert found == set(), "import these in the library's adapter"


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module}
    return names
