"""`python -m` this package serves the model that the environment names, as the container does."""

import _thread
import os
import signal
import sys
import threading
from pathlib import Path

from ..artifact import load_model
from ..config import load_settings
from ..errors import ProjectError, UsageError
from ..seal import MANIFEST
from .app import listen, make_app
from .service import Deployment


def main() -> None:
    """Serve the model that the environment names, as the container does.

    MODEL_FOLDER (or AZUREML_MODEL_DIR) and MODEL_DIGEST say which model, and nothing else is loaded; MODEL_VERSION,
    DEPLOYMENT, HOST, PORT, LOG_FOLDER and PROJECT_DIR have defaults. With STOP_WITH_STDIN, it stops when its standard
    input ends, as it does when the process that started it is gone.

    The model's ONNX form scores where the folder holds one, else the estimator: registration keeps no form that gives
    other scores. The word `native` on the command line leaves it aside, for versions that were registered before.
    """
    # The first process of a container gets no signal that it does not ask for; uvicorn asks only once it listens.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    env = os.environ
    folder, digest = env.get("MODEL_FOLDER") or env.get("AZUREML_MODEL_DIR"), env.get("MODEL_DIGEST")
    try:
        if not folder or not digest:
            raise UsageError("Set MODEL_FOLDER and MODEL_DIGEST: the service loads one model, and only that one.")
        limits = load_settings(Path(env.get("PROJECT_DIR", ".")) / "conf").serving
        model = load_model(_model_in(Path(folder)), digest, "native" if "native" in sys.argv[1:] else None, threads=1)
        deployment = Deployment(
            model=model, version=env.get("MODEL_VERSION", "0"), digest=digest, name=env.get("DEPLOYMENT", "blue"),
            log=Path(env["LOG_FOLDER"]) if env.get("LOG_FOLDER") else None,
        )  # fmt: skip
        if env.get("STOP_WITH_STDIN"):
            threading.Thread(target=_stop_with_stdin, daemon=True).start()
        listen(make_app(deployment, limits), env.get("HOST", "127.0.0.1"), int(env.get("PORT", "8000")))
    except ProjectError as error:
        raise SystemExit(str(error)) from None


def _model_in(folder: Path) -> Path:
    """The folder itself, or the only one in it that is under seal: Azure ML mounts a model at NAME/VERSION/FOLDER."""
    found = [folder] if (folder / MANIFEST).is_file() else [path.parent for path in folder.rglob(MANIFEST)]
    return found[0] if len(found) == 1 else folder


def _stop_with_stdin() -> None:
    sys.stdin.buffer.read()
    _thread.interrupt_main(signal.SIGTERM)


if __name__ == "__main__":
    main()
