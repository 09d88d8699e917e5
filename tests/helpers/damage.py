"""Damage to stores: records that cannot be read or decoded."""

from __future__ import annotations

from pictures import jpeg, photo

from sdali.pipelines import (
    ImageStore,
)

BROKEN = {
    "text": b"this is no picture at all, only some text in a file called .jpg\n" * 4,
    "zeros": bytes(2000),
    "bare SOI": b"\xff\xd8",
    "truncated": jpeg(photo(1, 90, 90))[:900],
}


def flip_a_byte(store: ImageStore, index: int) -> None:
    """Damage one record on disk."""
    record = bytes(store.read([index])[0])
    content = store.path.read_bytes()
    at = content.index(record) + len(record) // 2
    with store.path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([content[at] ^ 0xFF]))


def damage_boxes(store: ImageStore, index: int) -> None:
    record, content = store.boxes(index).xyxy.tobytes(), store.path.read_bytes()
    with store.path.open("r+b") as file:
        file.seek(content.index(record))
        file.write(b"\xff" * 4)  # no number
