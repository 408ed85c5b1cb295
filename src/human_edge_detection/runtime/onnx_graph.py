"""Reads and cuts an ONNX file as bytes, so that inference needs no ``onnx`` package.

A protobuf message is a sequence of (field number, value) pairs. Only the few fields of ONNX's
schema below are read; unknown ones are copied.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import check_regular

MODEL_GRAPH, MODEL_METADATA = 7, 14
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_OP_TYPE, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 6, 11
TENSOR_NAME, VALUE_NAME = 8, 1

CHECKSUM = "sha256"
"""Key of a model's last metadata entry, the SHA-256 of the file's bytes before it."""

SIZE_MULTIPLE = "size_multiple"
"""Key of a network's metadata: what the sides of its images must be multiples of."""

DEFAULT_SIZE_HW = (640, 640)
"""Height and width of the images where neither the graph nor the caller sets them."""

Field = tuple[int, bytes, bytes]
"""A field's number, its payload and its whole encoding (key, length and payload)."""


class MalformedModel(ValueError):
    """The bytes are not a whole ONNX model."""


@dataclass(frozen=True)
class Node:
    """One operation: the tensors that it and its inner graphs read, and those that it makes.

    Attributes:
        op_type: name of the operation.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    op_type: str


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedModel("a number is cut off")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _fields(data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        start = at
        key, at = _read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 2:
            length, at = _read_varint(data, at)
        elif wire_type == 0:
            length = _read_varint(data, at)[1] - at
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise MalformedModel(f"wire type {wire_type} at byte {start}")
        if number == 0 or at + length > len(data):
            raise MalformedModel(f"a field is cut off at byte {start}")
        yield number, data[at : at + length], data[start : at + length]
        at += length


def _message(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


FLOAT_MAP = _message(2, _message(1, b"\x08\x01" + _message(2, 4 * _message(1, b""))))
"""A graph input's type: float32 with four axes of any length."""


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", errors="replace")


def _name(message: bytes, number: int) -> str:
    return next((_text(value) for field, value, _ in _fields(message) if field == number), "")


def _inner_inputs(attribute: bytes) -> Iterator[str]:
    for number, graph, _ in _fields(attribute):
        if number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
            for part, value, _ in _fields(graph):
                if part == GRAPH_NODE:
                    yield from _parse_node(value).inputs
                elif part == GRAPH_OUTPUT:  # an inner graph may return an outer tensor as it is
                    yield _name(value, VALUE_NAME)


def _parse_node(message: bytes) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    op_type = ""
    for number, value, _ in _fields(message):
        if number == NODE_INPUT:
            inputs.append(_text(value))
        elif number == NODE_OUTPUT:
            outputs.append(_text(value))
        elif number == NODE_OP_TYPE:
            op_type = _text(value)
        elif number == NODE_ATTRIBUTE:
            inputs.extend(_inner_inputs(value))
    return Node(tuple(inputs), tuple(outputs), op_type)


def _graph_of(model: bytes) -> bytes:
    for number, value, _ in _fields(model):
        if number == MODEL_GRAPH:
            return value
    raise MalformedModel("it holds no graph")


def read_nodes(model: bytes) -> list[Node]:
    """The operations of a serialized ONNX model, in the order of the file."""
    fields = _fields(_graph_of(model))
    return [_parse_node(value) for number, value, _ in fields if number == GRAPH_NODE]


def read_outputs(model: bytes) -> tuple[str, ...]:
    """Names of the outputs that a serialized ONNX model declares."""
    fields = _fields(_graph_of(model))
    return tuple(_name(value, VALUE_NAME) for number, value, _ in fields if number == GRAPH_OUTPUT)


def _needed(
    nodes: list[Node], names: Iterable[str], given: Collection[str]
) -> tuple[set[int], set[str]]:
    made = ((name, index) for index, node in enumerate(nodes) for name in node.outputs)
    maker = {name: index for name, index in made if name not in given}
    tensors, kept, stack = set(names), set(), list(names)
    while stack:
        index = maker.get(stack.pop())
        if index is None or index in kept:
            continue
        kept.add(index)
        tensors.update(nodes[index].inputs)
        stack.extend(nodes[index].inputs)
    return kept, tensors


def _rebuilt(model: bytes, graph: bytes) -> bytes:
    parts = [whole for number, _, whole in _fields(model) if number != MODEL_GRAPH]
    return b"".join([*parts, _message(MODEL_GRAPH, graph)])


def select_outputs(
    model: bytes, names: Iterable[str], given: Collection[str] | None = None
) -> bytes:
    """The model with these tensors of its graph as outputs, and nothing that they do not need.

    ONNX Runtime executes the whole graph, whichever outputs are asked for; hence the cutting.
    Without ``given`` all inputs stay. With it, which may be empty, those that nothing reads go, and
    the tensors that it names, float32 of four axes, become inputs instead of what makes them.
    """
    names = tuple(names)
    graph = _graph_of(model)
    kept, tensors = _needed(read_nodes(model), names, given or ())
    parts, index, declared = [], -1, {}
    for number, value, whole in _fields(graph):
        if number == GRAPH_OUTPUT:
            declared[_name(value, VALUE_NAME)] = whole
            continue
        is_cut = given is not None and number == GRAPH_INPUT
        if is_cut and _name(value, VALUE_NAME) not in tensors:
            continue
        if number == GRAPH_NODE:
            index += 1
            if index not in kept:
                continue
        if number == GRAPH_INITIALIZER and _name(value, TENSOR_NAME) not in tensors:
            continue
        parts.append(whole)
    maps = (_message(VALUE_NAME, name.encode()) + FLOAT_MAP for name in given or ())
    parts.extend(_message(GRAPH_INPUT, value) for value in maps)
    bare = {name: _message(GRAPH_OUTPUT, _message(VALUE_NAME, name.encode())) for name in names}
    return _rebuilt(model, b"".join(parts + [declared.get(name, bare[name]) for name in names]))


def with_shape_outputs(model: bytes, names: Iterable[str]) -> bytes:
    """The model with the shapes int64 of the named tensors as its outputs.

    The shape of ``x`` is the output ``x#shape``: shapes fit into memory, the tensors do not.
    """
    names = tuple(names)
    parts = [whole for number, _, whole in _fields(_graph_of(model)) if number != GRAPH_OUTPUT]
    for name in names:
        shape = f"{name}#shape".encode()
        texts = ((NODE_INPUT, name.encode()), (NODE_OUTPUT, shape), (NODE_OP_TYPE, b"Shape"))
        parts.append(_message(GRAPH_NODE, b"".join(_message(*text) for text in texts)))
        parts.append(_message(GRAPH_OUTPUT, _message(VALUE_NAME, shape)))
    return _rebuilt(model, b"".join(parts))


def _checksum_entry(digits: str) -> bytes:
    entry = _message(1, CHECKSUM.encode()) + _message(2, digits.encode())
    return _message(MODEL_METADATA, entry)


def _split_checksum(model: bytes) -> tuple[bytes, str]:
    """The bytes without the checksum at their end, and its 64 digits; "" if there is none."""
    entry = _checksum_entry("0" * 64)
    if model[-len(entry) : -64] != entry[:-64]:
        return model, ""
    return model[: -len(entry)], model[-64:].decode("ascii", "replace")


def with_checksum(model: bytes) -> bytes:
    """A serialized ONNX model with its checksum, by which :func:`read_model` notices damage."""
    body, _ = _split_checksum(model)
    return body + _checksum_entry(hashlib.sha256(body).hexdigest())


def short_hash(model: bytes) -> str:
    """The first 12 hexadecimal digits of a model's SHA-256, the same with and without checksum."""
    body, digits = _split_checksum(model)
    return (digits or hashlib.sha256(body).hexdigest())[:12]


def read_model(path: Path | str) -> bytes:
    """The bytes of a model file, compared with their checksum if they have one.

    Raises:
        InputError: if the file does not exist, is not a regular file, is empty, or differs from
            what was exported.
    """
    if os.path.exists(path):
        check_regular(Path(path), "model")
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"model {path} does not exist: check the path") from None
    except (OSError, ValueError) as error:  # also a null character in the path
        raise InputError(f"model {str(path)!r:.300} cannot be read: {error!s:.80}") from error
    if not data:
        raise InputError(f"model {path} is empty: download or export it again")
    body, digits = _split_checksum(data)
    if digits and hashlib.sha256(body).hexdigest() != digits:
        raise InputError(
            f"model {path} is damaged: its bytes are not those that were exported (SHA-256). "
            f"Download or export it again; if a tool changed it, remove '{CHECKSUM}' from its "
            "metadata"
        )
    return data


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file as it was read: its bytes, its operations and the outputs it declares."""

    path: Path
    data: bytes
    nodes: tuple[Node, ...]
    declared: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """The file at ``path``; ``InputError`` if it is missing, cut off or not ONNX."""
        data = read_model(path)
        try:
            list(_fields(data))  # also what follows the graph
            select_outputs(data, ())  # and the names of the weights
            return cls(path, data, tuple(read_nodes(data)), read_outputs(data))
        except (MalformedModel, RecursionError) as error:
            raise InputError(
                f"model {path} is not a whole ONNX file ({error}): download or export it again"
            ) from error

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the operations make, in the order of the file."""
        return tuple(name for node in self.nodes for name in node.outputs if name)
