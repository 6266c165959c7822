"""An S3-compatible server on loopback."""

from __future__ import annotations

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "tweets"


class S3:
    """An S3-compatible server with one bucket."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        _, port = self._server.get_host_and_port()
        self.address = f"http://127.0.0.1:{port}"
        known = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in {**known, "AWS_ENDPOINT_URL": self.address, "AWS_EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        httpx.post(f"{self.address}/moto-api/reset").raise_for_status()  # the server's state is shared by the process
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=BUCKET)

    def names(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def stop(self) -> None:
        self._server.stop()
        S3FileSystem.clear_instance_cache()
