"""Reads TensorBoard's files back: our own frames around TensorBoard's own messages."""

from pathlib import Path

from tensorboardX.proto import event_pb2

from verifier.storage.tfrecord import read_frames


def scalars(folder: Path | str, names: list[str]) -> dict[str, dict[int, float]]:
    """{tag: {step: value}} of the events files of these names in a folder, local or remote."""
    found: dict[str, dict[int, float]] = {}
    for name in sorted(names):
        for _, frame in read_frames(f"{folder}/{name}"):
            event = event_pb2.Event.FromString(frame)
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found
