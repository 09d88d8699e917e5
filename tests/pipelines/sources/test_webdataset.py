"""WebDataset shards as a source, written by tarfile and by the webdataset package; wrong ones end in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from pictures import jpeg, photo

from sdali.cli.main import main
from sdali.pipelines.build.build import build
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.progress import silent
from sdali.pipelines.sources.webdataset import webdataset
from sdali.pipelines.store.reader import ImageStore

IMAGES = [jpeg(photo(seed, 30 + seed, 40)) for seed in range(6)]


def tar(path: Path, files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as shard:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    return path


def built(source: Path, store: Path, class_names: Path | None = None) -> ImageStore:
    build(webdataset(source, class_names=class_names), store, workers=2, progress=silent)
    return ImageStore(store)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_of_a_folder_in_natural_order(tmp_path: Path, form: int) -> None:
    """Bytes, classes and names, with files that are not ours, long names, and the same names in two shards."""
    shards, long = tmp_path / "shards", "v1.0/" + "d" * 60 + "/" + "n" * 70
    shards.mkdir()
    tar(shards / "train-10.tar", {"0.jpg": IMAGES[3], "0.cls": b"1"}, form)
    first = {"0.cls": b"2", "0.json": b"{}", "0.JPG": IMAGES[0], "__note__.txt": b"", f"./{long}.jpg": IMAGES[1]}
    tar(shards / "train-9.tar", {**first, f"./{long}.cls": b" 0\n", "1.seg.png": b"?", "1.jpeg": IMAGES[2]}, form)
    (shards / "index.txt").write_text("train-9 train-10")

    store = built(shards, tmp_path / "a.lmdb")

    assert list(store.read(range(4))) == IMAGES[:4]
    assert store.labels.tolist() == [2, 0, -1, 1] and tuple(store.classes) == ("0", "1", "2")
    names = ["train-9/0.jpg", f"train-9/{long}.jpg", "train-9/1.jpeg", "train-10/0.jpg"]
    assert [store.names[index] for index in range(4)] == names


@pytest.mark.slow  # its import starts a process
def test_what_webdataset_writes(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    with wds.ShardWriter(str(tmp_path / "w-%03d.tar"), maxcount=2, verbose=0) as writer:
        for index, image in enumerate(IMAGES):
            writer.write({"__key__": f"{index:04d}", "jpg": image, "cls": index % 3, "json": {"index": index}})

    store = built(tmp_path, tmp_path / "a.lmdb")

    assert list(store.read(range(6))) == IMAGES and store.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert len(list(tmp_path.glob("w-*.tar"))) == 3


def test_classes_are_named_by_a_file(tmp_path: Path) -> None:
    shard = tar(tmp_path / "a.tar", {"0.jpg": IMAGES[0], "0.cls": b"1"})
    (tmp_path / "names.txt").write_text("cat\ndog\nowl\n")
    store = built(shard, tmp_path / "a.lmdb", tmp_path / "names.txt")
    assert tuple(store.classes) == ("cat", "dog", "owl") and store.labels.tolist() == [1]


def test_images_without_classes_and_a_sample_without_an_image(tmp_path: Path) -> None:
    shard = tar(tmp_path / "a.tar", {"0.jpg": IMAGES[0], "1.txt": b"a caption"})
    with pytest.raises(InputError, match=r"^a/1 has no image"):
        built(shard, tmp_path / "a.lmdb")
    report = build(webdataset(shard), tmp_path / "a.lmdb", skip_bad=True, progress=silent)
    assert report["images"] == 1 and report["classes"] == 0 and report["skipped"][0]["name"] == "a/1"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "no samples"),
        ({"readme": b"x"}, "no samples"),
        ({"0.jpg": IMAGES[0], "0.png": IMAGES[1]}, r"2 images of 0 \(.jpg, .png\)"),
        ({"0.jpg": IMAGES[0], "1.jpg": IMAGES[1], "0.cls": b"1"}, "files of 0 that are not side by side"),
        ({"0.cls": b"1", "0.jpg": IMAGES[0], "0.CLS": b"0"}, "2 classes of 0; write"),
        ({"0.jpg": IMAGES[0], "0.cls": b"cat"}, "class in 0.cls that is no integer"),
        ({"0.jpg": IMAGES[0], "0.cls": b"-2"}, "class in 0.cls that is no integer"),
        ({"0.jpg": IMAGES[0], "0.cls": b"7" * 4000}, "class in 0.cls that is no integer"),
        ({"0.jpg": IMAGES[0], "0.cls": b"99999999"}, "class 99999999 of a/0.jpg would need 100,000,000 classes"),
    ],
)
def test_wrong_samples(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    with pytest.raises(InputError, match=says):
        webdataset(tar(tmp_path / "a.tar", files))


def test_a_class_beyond_the_names(tmp_path: Path) -> None:
    shard = tar(tmp_path / "a.tar", {"0.jpg": IMAGES[0], "0.cls": b"2"})
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(InputError, match=r"class 2 of a/0\.jpg is outside the 2 classes that .*names\.txt names"):
        webdataset(shard, class_names=tmp_path / "names.txt")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(IMAGES[0])
    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        link = tarfile.TarInfo("0.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.jpg")
        shard.addfile(link)
    with pytest.raises(InputError, match=r"0\.jpg, a link or sparse file"):
        webdataset(tmp_path / "a.tar")


def test_files_that_are_no_tar_files(tmp_path: Path) -> None:
    shard = tar(tmp_path / "a.tar", {"0.jpg": IMAGES[0], "1.jpg": IMAGES[1]})
    whole = shard.read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(IMAGES[0])])
    (tmp_path / "gz.tar").write_bytes(gzip.compress(whole))
    (tmp_path / "text.tar").write_bytes(b"no tar file\n" * 100)
    os.mkfifo(tmp_path / "pipe.tar")
    for name in ("cut", "gz", "text"):
        with pytest.raises(InputError, match=rf"{name}\.tar is damaged, cut off or not a plain tar file"):
            webdataset(tmp_path / f"{name}.tar")
    with pytest.raises(InputError, match=r"cannot read .*pipe\.tar: it is not a regular file"):
        webdataset(tmp_path / "pipe.tar")
    with pytest.raises(InputError, match=r"cannot read .*absent\.tar: No such file"):
        webdataset(tmp_path / "absent.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no tar files"):
        webdataset(tmp_path / "empty")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_headers_end_in_a_sentence_or_in_samples(tmp_path: Path, seed: int) -> None:
    """Bytes of the headers replaced, in pax archives, whose headers have contents of their own."""
    import random

    names = [f"{'x' * 120}{index}.jpg" for index in range(4)]
    shard = tar(tmp_path / "a.tar", dict(zip(names, IMAGES, strict=False)))
    data, draw = bytearray(shard.read_bytes()), random.Random(seed)
    starts = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    for _ in range(draw.randint(1, 6)):
        data[draw.choice(starts) + draw.choice([124, 130, 135, 148, 156, 257, 512, 514])] = draw.randrange(256)
    shard.write_bytes(data)
    try:
        build(webdataset(shard), tmp_path / "a.lmdb", skip_bad=True, progress=silent)
    except InputError as error:
        assert str(error)


FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.mark.parametrize("form", FORMS)
def test_no_damage_of_headers_passes_for_the_end(tmp_path: Path, form: str) -> None:
    """One bit of any header flipped, in every byte of it, and a cut at every block and within it: refused, or what is
    read is whole. Names as long as a pax or a GNU header of their own.
    """
    files = {f"{'n' * 110}{i}.{ending}": data for i in range(3) for ending, data in (("jpg", b"12345"), ("cls", b"1"))}
    whole = tar(
        tmp_path / "a.tar", files if form != "ustar" else {name[100:]: files[name] for name in files}, FORMS[form]
    )
    data = whole.read_bytes()
    expected = [(item.name, item.label) for item in webdataset(whole).items]
    assert len(expected) == 3
    end = len(data.rstrip(b"\0")) // 512 * 512 + 512
    headers = [at for at in range(0, end, 512) if data[at + 257 : at + 262] == b"ustar"]
    (tmp_path / "d").mkdir()
    damaged = tmp_path / "d" / "a.tar"

    def refused_or_whole(content: bytes) -> bool:
        damaged.write_bytes(content)
        try:
            return [(item.name, item.label) for item in webdataset(damaged).items] == expected
        except InputError as error:
            return "damaged, cut off" in str(error)

    for at in headers:
        for offset in range(0, 512, 23):
            flipped = bytearray(data)
            flipped[at + offset] ^= 1 << offset % 8
            assert refused_or_whole(bytes(flipped)), (at, offset)
    for length in [*range(0, end + 1024, 512), *(at + 100 for at in headers)]:
        assert refused_or_whole(data[:length]), length


def test_a_damaged_pax_header_is_no_shorter_name(tmp_path: Path) -> None:
    """The length of its record, which no checksum covers: the reader would fall back on the first 100 bytes."""
    shard = tar(tmp_path / "a.tar", {f"{'n' * 120}{index}.jpg": IMAGES[index] for index in range(2)})
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b" path=", b"xpath=", 1))
    with pytest.raises(InputError, match="the pax header at byte 0 is damaged"):
        webdataset(shard)


def test_archives_one_behind_the_other_are_one_shard(tmp_path: Path) -> None:
    """`cat a.tar b.tar`: all samples, where they lie; anything else behind the end is refused, zeros in plenty too."""
    first = tar(tmp_path / "1.tar", {"0.jpg": IMAGES[0], "0.cls": b"0"}).read_bytes()
    second = tar(tmp_path / "2.tar", {"1.jpg": IMAGES[1], "1.cls": b"1"}).read_bytes()
    both = tmp_path / "both.tar"
    both.write_bytes(first + second)
    store = built(both, tmp_path / "a.lmdb")
    assert list(store.read(range(2))) == IMAGES[:2] and store.labels.tolist() == [0, 1]
    for tail in (b"no header, but text\n" * 60, second[:100], bytes(1 << 17)):
        both.write_bytes(first + tail)
        with pytest.raises(InputError, match=r"both\.tar is damaged, cut off"):
            webdataset(both)


def test_what_shards_have_besides_is_counted(tmp_path: Path) -> None:
    """Files of samples, hidden ones, compressed shards and those of sub-folders; an ending in capitals is taken."""
    (tmp_path / "more").mkdir()
    first = {"0.jpg": IMAGES[0], "0.json": b'{"label": 3}', "._0.jpg": b"?", ".cache/1.jpg": b"?"}
    tar(tmp_path / "a.TAR", {**first, "1.jpg": IMAGES[1], "1.json": b"{}", "readme": b"?"})
    for name in ("b.tar.gz", "more/c.tar", "._a.tar", "index.txt"):
        (tmp_path / name).write_bytes(b"")
    source = webdataset(tmp_path)
    assert [item.name for item in source.items] == ["a/0.jpg", "a/1.jpg"]
    assert source.left_out.report() == {
        "hidden files and folders": {"count": 3, "examples": ["._a.tar", "a/._0.jpg", "a/.cache/1.jpg"]},
        "files that end in .json": {"count": 2, "examples": ["a/0.json", "a/1.json"]},
        "files that end in .tar.gz": {"count": 1, "examples": ["b.tar.gz"]},
        "files that end in .txt": {"count": 1, "examples": ["index.txt"]},
        "shards in sub-folders": {"count": 1, "examples": ["more/c.tar"]},
        "files without an ending": {"count": 1, "examples": ["a/readme"]},
    }
    (tmp_path / "a.TAR").unlink()
    with pytest.raises(InputError, match=r"decompress compressed ones.*more/c\.tar"):
        webdataset(tmp_path)


def test_an_image_may_be_named_as_one(tmp_path: Path) -> None:
    """1.img.png is the image of the sample 1, unless it has a 1.png; 1.seg.png alone is none."""
    files = {"0.img.jpg": IMAGES[0], "1.jpg": IMAGES[1], "1.image.png": b"?", "2.seg.png": b"?", "2.cls": b"0"}
    items = webdataset(tar(tmp_path / "a.tar", files)).items
    assert [item.name for item in items] == ["a/0.img.jpg", "a/1.jpg", "a/2"]
    assert [item.load().data for item in items[:2]] == IMAGES[:2]
    with pytest.raises(InputError, match="has no image"):
        items[2].load()


def test_a_shard_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    shard = tar(tmp_path / "a.tar", {"0.jpg": IMAGES[0], "1.jpg": IMAGES[1]})
    source = webdataset(shard)
    os.truncate(shard, 1024)
    with pytest.raises(InputError, match="is cut off"):
        source.items[1].load()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = tar(tmp_path / "a.tar", {f"{index}.{ending}": data for index in range(6) for ending, data in
                                     (("jpg", IMAGES[index]), ("cls", str(index % 2).encode()))})  # fmt: skip
    status = main(["build", str(shard), str(tmp_path / "a.lmdb"), "--format", "webdataset", "--split", "0.5"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0 and report["images"] == 6 and report["classes"] == 2
    assert main(["build", str(shard), str(tmp_path / "b.lmdb"), "--masks", "m", "--format", "webdataset"]) == 2
    assert "--masks goes with --format folder or masks" in capsys.readouterr().err
