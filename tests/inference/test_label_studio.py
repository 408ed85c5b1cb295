"""Tasks for Label Studio, read by a plain decoder of its format."""

from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from human_edge_detection.inference.label_studio import pack, task_of
from human_edge_detection.masks.instance_masks import InstanceMasks


def unpack(octets: list[int]) -> list[int]:
    """The values, bit by bit as Label Studio's page reads them."""
    bits, place = "".join(f"{octet:08b}" for octet in octets), 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    count, size = read(32), read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run = read(1)
        length = read(lengths[read(2)]) + 1
        values += [read(size)] * length if is_run else [read(size) for _ in range(length)]
    return values


@pytest.mark.parametrize("runs", [[3], [0, 2], [1, 2, 1], [5, 70_000, 20_000, 1]])
def test_runs_are_what_the_decoder_reads(runs):
    wanted = np.repeat(np.arange(len(runs)) % 2 * 255, 4 * np.array(runs))  # RGBA
    np.testing.assert_array_equal(unpack(pack(runs)), wanted)


def test_a_task_has_everybodys_mask():
    probs = np.zeros((3, 3, 28, 28), np.float32)
    probs[:, 1] = 0.9
    probs[:, 0] = 0.1
    probs[0, 1, 8:20, 8:20] = 0.1  # a hole
    rois = np.float32([[2, 3, 12, 13], [20, 0, 30, 20], [90, 90, 99, 99]])
    people = InstanceMasks(probs, rois, rois, (20, 30), scores=np.float32([0.9, 0.5, 0.8]))
    task = task_of(people, "park/a.jpg", 0.5)
    assert task["data"] == {"image": "/data/local-files/?d=park/a.jpg"}
    (prediction,) = task["predictions"]
    assert prediction["score"] == pytest.approx(0.7)
    for region, mask in zip(prediction["result"], people.binary()[:2], strict=True):
        size_hw = (region["original_height"], region["original_width"])
        found = np.reshape(unpack(region["value"]["rle"]), (*size_hw, 4))
        np.testing.assert_array_equal(found[..., 3] == 255, mask)
        assert not mask.all() and mask.any()
    assert [region["id"] for region in prediction["result"]] == ["person1", "person2"]
    odd = task_of(people, "50% off/a&b #1+é.jpg", 0.5)["data"]["image"]
    assert parse_qs(urlsplit(odd).query) == {"d": ["50% off/a&b #1+é.jpg"]}
    assert task_of(InstanceMasks(probs[:0], rois[:0], rois[:0], (20, 30)), "b.jpg", 0.5)[
        "predictions"
    ] == [{"model_version": "human-edge-detection", "result": []}]
