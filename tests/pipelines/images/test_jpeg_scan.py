"""JPEGs whose data end early, against what libjpeg remarks on them while OpenCV decodes them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_zoo import zoo
from zoo_jpeg import scan_at

from sdali.pipelines.images.jpeg_scan import scan_fault

_UNSOUND = ("jpeg_half_scan", "jpeg_half_scan_restart", "jpeg_half_scan_grey", "jpeg_two_starts")
_KINDS = {
    name: specimen.data
    for name, specimen in zoo().items()
    if name.startswith(
        ("jpeg_quality", "jpeg_sampling", "jpeg_progressive_4", "jpeg_restart", "jpeg_grey", "jpeg_ycck")
    )
    or name in ("jpeg_cmyk", "jpeg_cmyk_progressive", "jpeg_optimised", "jpeg_of_17_x_33")
}


@pytest.mark.parametrize("name", _KINDS)
def test_cut_anywhere_it_is_found_as_libjpeg_finds_it(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A fault is found in a file cut off and given an end marker exactly where libjpeg remarks on one."""
    data = _KINDS[name]
    assert scan_fault(data) is None
    begin = scan_at(data)
    found = 0
    for end in np.linspace(begin + 1, len(data) - 2, 40).astype(int).tolist():
        cut = data[:end].rstrip(b"\xff") + b"\xff\xd9"
        capfd.readouterr()
        cv2.imdecode(np.frombuffer(cut, np.uint8), cv2.IMREAD_COLOR)
        remark = capfd.readouterr().err
        fault = scan_fault(cut)
        if "Corrupt JPEG data" in remark:
            assert fault is not None, (end, remark)
        elif "progressive" not in name:  # of which libjpeg passes over a scan that is cut off within its header
            assert fault is None, (end, fault)
        found += fault is not None
    assert found > (20 if "progressive" in name else 30)


@pytest.mark.parametrize("name", [name for name in zoo() if name.startswith("jpeg_") and name not in _UNSOUND])
def test_whole_files_have_no_fault(name: str) -> None:
    """Whatever the segments say: fill bytes, trailing bytes, missing tables, odd EXIF."""
    assert scan_fault(zoo()[name].data) is None


def test_other_damage_of_the_data_is_named() -> None:
    """A restart marker that is gone; codes that no table has."""
    data = _KINDS["jpeg_restart_1"]
    gone = data.replace(b"\xff\xd2", b"", 1)
    assert "lacks a restart marker" in (scan_fault(gone) or "")
    plain = zoo()["jpeg_optimised"].data
    at = scan_at(plain) + 20
    ones = plain[:at] + b"\xff\x00" * 8 + plain[at + 16 :]
    assert "a code that its tables have not" in (scan_fault(ones) or "")


@given(st.sampled_from(sorted(_KINDS)), st.data())
def test_changed_bytes_are_judged_or_passed(name: str, data: st.DataObject) -> None:
    """Any bytes changed and any cut: a sentence or None, and no memory but its own is touched."""
    content = bytearray(_KINDS[name])
    del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 6)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    fault = scan_fault(bytes(content))
    assert fault is None or fault.startswith("is ")


def test_it_judges_jpegs_alone() -> None:
    assert scan_fault(zoo()["png_rgb_8"].data) is None and scan_fault(b"") is None
    assert "cut off" in (scan_fault(b"\xff\xd8\xff\xda\0\x0c\1") or "")
