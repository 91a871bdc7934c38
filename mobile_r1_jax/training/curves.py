"""Scalars for TensorBoard, written without a thread.

tensorboardX's own writer has a thread and a queue. When the disk is full, the thread ends with a traceback, and the
next write blocks forever. Here the caller gets the error.
"""

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from mobile_r1_jax.agent.errors import name_file


class Curves:
    """A writer of scalars to a new event file in `folder`. TensorBoard hides older files' values from `first_step` on.

    Methods raise an OSError that names the file, for example when the disk is full.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        version = "brain.Event:2"
        self._append(Event(wall_time=time.time(), file_version=version))
        self._append(Event(step=first_step, file_version=version))
        self._append(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one point of every curve."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))

    def _append(self, event: Event) -> None:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        record = b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (length, data))
        with name_file(self._path), self._path.open("ab", buffering=0) as file:
            while record:
                record = record[file.write(record) :]
