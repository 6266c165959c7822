"""Counting connections by client, and the number that the process's file descriptors allow."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from bentos.limits import ConnectionLimits, _client


@pytest.mark.parametrize(
    ("hosts", "clients"),
    [
        (["192.0.2.1", "192.0.2.2"], 2),
        (["2001:db8::1", "2001:db8::ffff:1"], 1),
        (["2001:db8::1", "2001:db8:0:1::1"], 2),
        (["::ffff:192.0.2.1", "192.0.2.1"], 1),
        ([None, ""], 1),
    ],
)
def test_a_client_is_an_address_or_a_network(hosts: list[str | None], clients: int) -> None:
    assert len({_client(host) for host in hosts}) == clients


@pytest.mark.parametrize(
    ("limits", "per_client"),
    [
        (ConnectionLimits(), 1024),
        (ConnectionLimits(max_connections=100), 75),
        (ConnectionLimits(max_connections=1), 1),
        (ConnectionLimits(max_connections=100, max_connections_per_client=100), 100),
    ],
)
def test_one_client_cannot_take_all_connections_unless_it_may(limits: ConnectionLimits, per_client: int) -> None:
    assert limits.per_client == per_client


@pytest.mark.parametrize(
    ("descriptors", "expected"), [((256, 256), (160, 256)), ((256, 1000), (904, 1000)), ((256, 9000), (4096, 4192))]
)
def test_connections_fit_the_file_descriptors(descriptors: tuple[int, int], expected: tuple[int, int]) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < descriptors[1]:
        pytest.skip("needs more descriptors")
    code = (
        "import resource; from bentos.limits import ConnectionLimits\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, {descriptors})\n"
        "limits = ConnectionLimits().within_descriptors()\n"
        "print((limits.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
