"""A child for the tests of `polarity.pipeline.isolation`: does what its job says."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from polarity.errors import ConfigurationError


def work(job: dict[str, Any], report: Any) -> None:
    report(0.5, "half way", loss=0.25)
    print("a library that prints")
    match job["do"]:
        case "finish":
            Path(job["to"]).write_text("done")
        case "refuse":
            raise ConfigurationError("this option is wrong")
        case "break":
            raise RuntimeError("out of luck")
        case "fill the disk":
            Path("/dev/full").write_text("done")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            Path(job["to"]).write_text(str(os.getpid()))
            time.sleep(600)
