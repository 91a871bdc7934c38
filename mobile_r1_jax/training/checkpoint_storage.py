"""Where checkpoints lie: in a local folder, or in a folder gs://BUCKET/FOLDER of Google Cloud Storage.

A folder of a bucket cannot be renamed at once. So an unfinished checkpoint has its final name there, and Orbax writes
the file COMMITTED into it when it is complete. A local one gets its final name then.
"""

import importlib.util
import logging
import os
import uuid
from pathlib import Path
from typing import Any

import tensorstore
from etils import epath

from mobile_r1_jax.agent.errors import OneLineError

GS = "gs://"
DRAFT = ".orbax-checkpoint-tmp"  # part of the name of an unfinished checkpoint in a local folder
COMMITTED = "commit_success.txt"
SECONDS = 20.0  # to wait for the first answer of a bucket
ROLES = "Storage Object User and Storage Legacy Bucket Reader"  # for writing, deleting and Orbax's check


def as_folder(path: os.PathLike[str]) -> epath.Path:
    """Return a folder of checkpoints with an absolute path."""
    folder = epath.Path(path)
    return folder if in_bucket(folder) else epath.Path(Path(folder).absolute())


def in_bucket(folder: epath.Path) -> bool:
    """Return whether a folder lies in a bucket."""
    return str(folder).startswith(GS)


def store_spec(folder: epath.Path) -> dict[str, Any]:
    """Return tensorstore's spec of the files in a folder."""
    if not in_bucket(folder):
        return {"driver": "file", "path": f"{folder}/"}
    bucket, _, path = str(folder).removeprefix(GS).partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": f"{path}/"}


def entries(folder: epath.Path) -> list[epath.Path]:
    """Return the entries of a folder, sorted; none if it is missing."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def files_in(folder: epath.Path) -> list[str]:
    """Return the paths of all files in a folder and the folders below it, relative to it."""
    return [name.decode() for name in tensorstore.KvStore.open(store_spec(folder)).result().list().result()]


def drafts(directory: epath.Path) -> list[epath.Path]:
    """Return the unfinished checkpoints in a directory of checkpoints."""
    if not in_bucket(directory):
        return [path for path in entries(directory) if DRAFT in path.name]
    return [path for path in entries(directory) if path.name.isdecimal() and not (path / COMMITTED).exists()]


def steps_in(directory: epath.Path) -> list[int]:
    """Return the numbers of the finished checkpoints in a directory of checkpoints, ascending."""
    unfinished = set(drafts(directory))
    return sorted(int(path.name) for path in entries(directory) if path.name.isdecimal() and path not in unfinished)


def prepare_storage(folder: epath.Path, *, write: bool = True) -> None:
    """Make this process ready to read a folder, and check whether it may write and delete there. Local: do nothing.

    Raise OneLineError if a package, the credentials, the bucket or a permission is missing, or nothing answers."""
    if not in_bucket(folder):
        return
    if importlib.util.find_spec("gcsfs") is None:
        raise OneLineError(f"checkpoints: {folder} needs gcsfs; pip install 'mobile-r1-jax[gcs]'")
    import fsspec
    from google.api_core.exceptions import NotFound
    from google.cloud import storage

    os.environ["EPATH_USE_TF"] = "false"  # or else etils chooses the client by what is installed
    fsspec.config.conf["gs"] = {"use_listings_cache": False}  # other processes and tensorstore write there too
    for library in ("gcsfs", "google.auth"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # they log what they raise, with tracebacks
    bucket, note = str(folder).removeprefix(GS).partition("/")[0], f"write-test-{uuid.uuid4().hex}"
    try:
        storage.Client().get_bucket(bucket, timeout=SECONDS, retry=None)  # Orbax calls this too
        if write:
            tensorstore.KvStore.open(store_spec(folder)).result().write(note, note.encode()).result()
            (folder / note).unlink()
    except NotFound:
        raise OneLineError(
            f"checkpoints: there is no bucket {GS}{bucket}, or it is not yours; create it, or name another one"
        ) from None
    except Exception as error:  # of four libraries: google.auth, google.cloud.storage, tensorstore, gcsfs
        raise OneLineError(
            f"checkpoints: {folder} cannot be {'written' if write else 'read'}: {' '.join(str(error).split())[:300]}; "
            f"log in (gcloud auth application-default login), or give the account the roles {ROLES}"
        ) from error
