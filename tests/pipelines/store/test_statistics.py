"""Statistics against brute force over all pixels at once, and against the published ImageNet values."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdali.pipelines.errors import BadSampleError, InputError
from sdali.pipelines.store.measure import measure, opened_statistics, save
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.statistics import IMAGENET, Statistics, load
from sdali.pipelines.store.writer import StoreWriter


def _store(path: Path, images: list[np.ndarray], overwrite: bool = False) -> ImageStore:
    """A store of RGB uint8 arrays as PNG."""
    with StoreWriter(path, classes=(), overwrite=overwrite) as writer:
        for i, image in enumerate(images):
            data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
            writer.add(data, label=-1, height=image.shape[0], width=image.shape[1], name=f"{i}.png")
    return ImageStore(path)


@pytest.fixture
def images() -> list[np.ndarray]:
    """Coloured images of different sizes, one nearly constant and bright: what naive variances lose digits on."""
    rng = np.random.default_rng(0)
    mix = rng.uniform(0.2, 1, (3, 3))
    noisy = [np.clip(rng.normal(0.5, 0.2, (20 + i, 30, 3)) @ mix * 160, 0, 255).astype(np.uint8) for i in range(9)]
    return [*noisy, np.full((100, 100, 3), 255, np.uint8) - rng.integers(0, 2, (100, 100, 3), np.uint8)]


def test_every_pixel_counts_once(tmp_path: Path, images: list[np.ndarray]) -> None:
    """Mean, std and covariance equal float64 NumPy over all pixels in one array; so do the eigenvalues."""
    statistics = measure(_store(tmp_path / "s.lmdb", images))
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255.0
    covariance = np.cov(pixels.T, bias=True)
    assert statistics.pixels == len(pixels)
    np.testing.assert_allclose(statistics.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, pixels.std(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, covariance, rtol=1e-11)
    np.testing.assert_allclose(statistics.eigenvalues, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-9)


def test_eigenvectors_rebuild_the_covariance(tmp_path: Path, images: list[np.ndarray]) -> None:
    """Columns are orthonormal, belong to descending eigenvalues, and have their largest component positive."""
    statistics = measure(_store(tmp_path / "s.lmdb", images))
    vectors, values = statistics.eigenvectors, statistics.eigenvalues
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, statistics.covariance, atol=1e-15)
    assert (np.diff(values) <= 0).all()
    assert (vectors[np.abs(vectors).argmax(0), range(3)] > 0).all()
    np.testing.assert_array_equal(statistics.lighting, vectors * values)


def test_one_value_has_no_variance(tmp_path: Path) -> None:
    """A constant set gives zeros, not rounding errors or negative eigenvalues."""
    statistics = measure(_store(tmp_path / "s.lmdb", [np.full((300, 700, 3), (255, 254, 3), np.uint8)] * 3))
    np.testing.assert_array_equal(statistics.mean, np.array([255, 254, 3]) / 255)
    assert not statistics.covariance.any() and not statistics.eigenvalues.any()


def test_the_sums_are_exact_on_large_extreme_images(tmp_path: Path) -> None:
    """Six million pixels of the largest values and differences: the integers are exact."""
    image = np.zeros((2000, 3000, 3), np.uint8)
    image[:1001, :, 0], image[500:, 1:, 1], image[..., 2] = 255, 255, 254
    statistics = measure(_store(tmp_path / "s.lmdb", [image]))
    integers = image.reshape(-1, 3).astype(np.int64)
    n, first, second = len(integers), integers.sum(0), integers.T @ integers
    expected = [
        [(n * int(second[i, j]) - int(first[i] * first[j])) / (255 * n) ** 2 for j in range(3)] for i in range(3)
    ]
    assert statistics.covariance.tolist() == expected


def test_the_number_of_workers_changes_no_bit(tmp_path: Path, images: list[np.ndarray]) -> None:
    """Sums are integers, so their order does not matter."""
    store = _store(tmp_path / "s.lmdb", images)
    assert measure(store, workers=1).to_dict() == measure(store, workers=3).to_dict()


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    """What cannot be decoded raises with the file's name."""
    with StoreWriter(tmp_path / "s.lmdb", classes=()) as writer:
        writer.add(b"no image", label=-1, height=2, width=2, name="cat/7.jpg")
    with pytest.raises(BadSampleError, match=r"cat/7\.jpg.*cannot be decoded"):
        measure(ImageStore(tmp_path / "s.lmdb"))


def test_published_values_are_eigenvalues_of_unnormalised_pixels(real_data: Path, tmp_path: Path) -> None:
    """On ImageNet photographs the eigenvalues are within 15 % of fb.resnet.torch's l; their roots are not."""
    with StoreWriter(tmp_path / "s.lmdb", classes=()) as writer:
        for path in sorted((real_data / "imagenet_sample").glob("*.JPEG"))[::2]:
            image = cv2.imread(str(path))
            assert image is not None
            height, width = image.shape[:2]
            writer.add(path.read_bytes(), label=-1, height=height, width=width, name=path.name)
    measured = measure(ImageStore(tmp_path / "s.lmdb"))
    np.testing.assert_allclose(measured.eigenvalues, IMAGENET.eigenvalues, rtol=0.15)
    assert (np.sqrt(measured.eigenvalues) > 2 * IMAGENET.eigenvalues).all()
    np.testing.assert_allclose(np.sqrt(np.diag(IMAGENET.covariance)), measured.std, rtol=0.05)
    turned = np.abs(measured.eigenvectors.T @ IMAGENET.eigenvectors)
    assert np.diag(turned).min() > 0.98


def test_published_lighting_is_the_tables_product() -> None:
    """IMAGENET.lighting @ a is sum_j v_j a_j l_j, as fb.resnet.torch computes it."""
    a = np.array([0.1, -0.2, 0.3])
    expected = sum(IMAGENET.eigenvectors[:, j] * a[j] * IMAGENET.eigenvalues[j] for j in range(3))
    np.testing.assert_allclose(IMAGENET.lighting @ a, expected, rtol=1e-14)


def test_saved_statistics_come_back_to_the_bit(tmp_path: Path, images: list[np.ndarray]) -> None:
    """Written beside the store as JSON, read through `store.statistics`, None before."""
    store = _store(tmp_path / "s.lmdb", images)
    assert load(store.path, store.digest) is None and store.statistics is None
    statistics = measure(store)
    path = save(store, statistics)
    assert path == tmp_path / "s.lmdb.stats.json" and json.loads(path.read_text())["digest"] == store.digest
    again = store.statistics
    assert again is not None and again.to_dict() == statistics.to_dict()


def test_statistics_of_other_images_are_refused(tmp_path: Path, images: list[np.ndarray]) -> None:
    """A file that belongs to another digest, or is damaged, names itself and the store."""
    store = _store(tmp_path / "s.lmdb", images)
    path = save(store, measure(store))
    other = _store(tmp_path / "s.lmdb", images[:2], overwrite=True)
    with pytest.raises(InputError, match=r"s\.lmdb\.stats\.json was measured on other images than .*s\.lmdb holds"):
        load(other.path, other.digest)
    path.write_text('{"digest": ')
    with pytest.raises(InputError, match=r"cannot read .*stats\.json"):
        load(other.path, other.digest)
    path.write_text(json.dumps({"digest": other.digest, "mean": [1, 2, 3]}))
    with pytest.raises(InputError, match="incomplete"):
        load(other.path, other.digest)


def test_statistics_are_checked_and_read_only() -> None:
    """Wrong shapes and infinite values are refused; nobody changes the constant."""
    values = IMAGENET.to_dict()
    assert Statistics.from_dict(values).to_dict() == values
    for change in ({"mean": [1, 2]}, {"std": [1, 2, float("nan")]}, {"covariance": "x"}):
        with pytest.raises(InputError):
            Statistics.from_dict({**values, **change})
    with pytest.raises(ValueError, match="read-only"):
        IMAGENET.mean[0] = 0


def test_a_file_elsewhere_serves_where_a_statistics_is_taken(tmp_path: Path, images: list[np.ndarray]) -> None:
    """Measured into a file of one's own, read back to the last bit, by path, for any store; the store's own stay."""
    store = _store(tmp_path / "s.lmdb", images)
    measured = measure(store)
    path = save(store, measured, tmp_path / "elsewhere.json")
    assert store.statistics is None and path == tmp_path / "elsewhere.json"
    other = _store(tmp_path / "t.lmdb", images[:2])
    for given in (path, str(path)):
        assert opened_statistics(given, other).to_dict() == measured.to_dict()
    assert opened_statistics(None, other) is IMAGENET
    for content, reason in ((b"", "cannot read"), (b"[]", "are incomplete"), (b'{"mean": [1]}', "are incomplete")):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(InputError, match=rf"bad\.json.* {reason}|{reason} .*bad\.json"):
            opened_statistics(tmp_path / "bad.json", other)
    with pytest.raises(InputError, match=r"cannot read .*none\.json \(No such file"):
        opened_statistics(tmp_path / "none.json", other)
