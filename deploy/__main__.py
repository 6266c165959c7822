"""`python -m deploy`: deploy a Bento's image on this host, to Azure or Kubernetes, roll back, or test a running server.

    python -m deploy up registry.example/sentiment:VERSION --expect sentiment:VERSION
    python -m deploy rollback
    python -m deploy status
    python -m deploy down
    python -m deploy webapp up IMAGE --name APP --group GROUP --expect sentiment:VERSION
    python -m deploy cluster up IMAGE --expect sentiment:VERSION
    python -m deploy smoke https://sentiment.example

Exit codes: 0 success; 1 the deployment failed, and what was live before is live; 2 a mistake in the options; 3 another
deployment is running.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from deploy.cluster import Cluster
from deploy.errors import Busy, DeployError
from deploy.host import FRONT_IMAGE, Host, Settings
from deploy.smoke import smoke_test
from deploy.webapp import WebApp


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        key = os.environ.get("POLARITY_API_KEY") or None
        if given.command in ("webapp", "cluster"):
            if given.command == "webapp":
                target: WebApp | Cluster = WebApp(given.name, given.group, given.slot, given.expect, key)
            else:
                target = Cluster(given.namespace, given.expect, key)
            if given.action == "up":
                target.deploy(given.image)
            else:
                target.rollback()
            return 0
        if given.command == "smoke":
            model = smoke_test(given.url, expect=given.expect, key=key, timeout_s=given.ready_s, direct=False)
            print(f"{given.url} serves {model['bento']} and answers as the contract says.")
            return 0
        host = Host(_settings(given))
        if given.command == "up":
            host.deploy(given.image)
        elif given.command == "rollback":
            host.rollback()
        elif given.command == "down":
            host.remove()
        else:
            state = host.state
            print(
                f"{state.bento} ({state.image}) is live in {state.slot} since {state.since}." if state.slot else "Idle."
            )
            print(f"Before: {state.previous or 'nothing'}.")
            if state.slot:
                print(", ".join(f"{slot}: {status}" for slot, status in host.statuses().items()))
    except Busy as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 3
    except (DeployError, OSError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    smoke = commands.add_parser("smoke", help="Test a running server; POLARITY_API_KEY is its key.")
    smoke.add_argument("url")
    up = commands.add_parser("up", help="Make an image live beside the version that is, or leave that one live.")
    up.add_argument("image", help="Name and digest of the image.")
    up.add_argument("--check", default="", help="Command that must succeed, too, with the new version in BASE_URL.")
    for name, words in (("webapp", "an Azure Web App"), ("cluster", "Kubernetes")):
        elsewhere = commands.add_parser(name, help=f"The same on {words}.")
        actions = elsewhere.add_subparsers(dest="action", required=True)
        for action in ("up", "rollback"):
            one = actions.add_parser(action)
            if action == "up":
                one.add_argument("image")
            one.add_argument("--expect", required=True, help="Tag of the Bento that must be served.")
            if name == "webapp":
                one.add_argument("--name", required=True, help="The app.")
                one.add_argument("--group", required=True, help="Its resource group.")
                one.add_argument("--slot", default="staging", help="Default: staging.")
            else:
                one.add_argument("--namespace", default="polarity", help="Default: polarity.")
    rollback = commands.add_parser("rollback", help="Make the previous image live.")
    for one in (smoke, up):
        one.add_argument("--expect", help="Tag of the Bento that must be served.")
    for one in (smoke, up, rollback):
        one.add_argument("--ready-s", type=float, default=120.0, help="Seconds until it must be ready. Default: 120.")
    for one in (
        up,
        rollback,
        commands.add_parser("status", help="Say what is live."),
        commands.add_parser("down", help="Stop everything; the volume stays."),
    ):
        one.add_argument("--folder", type=Path, default=Path.home() / ".polarity-deploy", help="State and lock.")
        one.add_argument("--name", default="polarity", help="Begins the containers' names. Default: polarity.")
        one.add_argument("--listen", default="*:8080", help="Where clients connect. Default: *:8080.")
        one.add_argument("--base-port", type=int, default=18080, help="The slots use the two ports after it.")
        one.add_argument("--env-file", type=Path, help="File with a NAME=value a line for the server.")
        one.add_argument("--volume", default="polarity", help="Volume of the record. Default: polarity.")
        one.add_argument("--memory", default="2g", help="Limit of a version. Default: 2g.")
        one.add_argument("--backend", default="", help="docker or podman. Default: the first that is installed.")
        one.add_argument("--front-image", default=FRONT_IMAGE, help=f"Default: {FRONT_IMAGE}.")
        one.add_argument("--grace-s", type=float, default=35.0, help="Seconds for open requests. Default: 35.")
    return parser


def _settings(given: argparse.Namespace) -> Settings:
    return Settings(
        folder=given.folder,
        name=given.name,
        listen=given.listen,
        base_port=given.base_port,
        environment=given.env_file,
        volume=given.volume,
        memory=given.memory,
        backend=given.backend,
        front_image=given.front_image,
        expect=getattr(given, "expect", None),
        check=tuple(shlex.split(getattr(given, "check", ""))),
        ready_s=getattr(given, "ready_s", 120.0),
        grace_s=given.grace_s,
    )


if __name__ == "__main__":
    sys.exit(main())
