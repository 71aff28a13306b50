"""An S3 server of tests (moto) in this process, and the environment of its user."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from slidenet.core.extras import require_extra

OF_USER = {
    "AWS_ACCESS_KEY_ID": "A-KEY",
    "AWS_SECRET_ACCESS_KEY": "A-SECRET",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
"""Who asks, and that nobody but the server of tests is asked."""


@contextmanager
def s3_server() -> Iterator[str]:
    """An empty server in threads of this process, for the block; its address.

    Raises:
        MissingExtraError: moto is not installed.
    """
    moto = require_extra("moto.server", extra="dev", purpose="the S3 server of tests")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for every request
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def user_environment(address: str) -> dict[str, str]:
    """The environment of this process for a user of the server, without the machine's own AWS_*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **OF_USER, "AWS_ENDPOINT_URL": address}


def become_user(address: str) -> None:
    """Gives this process that environment, and so those that it starts."""
    environment = user_environment(address)
    os.environ.clear()
    os.environ.update(environment)
