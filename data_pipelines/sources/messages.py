"""Protobuf message types from a table, so that no generated code is needed."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message

_SCALARS = {
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
}


def message_types(schema: Mapping[str, Mapping[str, tuple[int, str]]]) -> dict[str, type[Message]]:
    """Return the message types of a schema: message -> field -> (number, type), such as (1, "repeated bytes").

    A type is one of bytes, bool, int32, int64, float, or another message of the schema. Text is declared as bytes, as
    protobuf refuses a whole message for one invalid character. Fields that are not declared are ignored.
    """
    file = descriptor_pb2.FileDescriptorProto(name="schema.proto")
    for message, fields in schema.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            *repeated, name = kind.split()
            label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            added = described.field.add(name=field, number=number, label=label)
            added.type = _SCALARS.get(name, FieldDescriptorProto.TYPE_MESSAGE)
            if name not in _SCALARS:
                added.type_name = name
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {message: message_factory.GetMessageClass(pool.FindMessageTypeByName(message)) for message in schema}
