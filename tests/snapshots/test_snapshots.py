"""Pictures of every screen at every size in three themes are the same as those that were looked at last, and no text in
them is cut, covered or outside.

    BABYTUI_UPDATE_SNAPSHOTS=1 pytest -m slow tests/snapshots     takes the present ones instead; look at them first

A picture that differs is written beside the expected one (as SVG, for a browser) into the folder that the failure
names. They are made on one Python: another draws some characters' widths and versions of Textual differently.
"""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from pathlib import Path

import layout
import pytest
import screens

UPDATE = "BABYTUI_UPDATE_SNAPSHOTS"
EXPECTED = Path(__file__).parent / "expected"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not screens.PICTURES, reason=f"pictures are of Python {'.'.join(map(str, screens.PYTHON))} and "
                       f"Textual {screens.TEXTUAL} on Linux; others may draw the same screen in other pieces")]


def normal(svg: str) -> str:
    """Without the number that is another one every time."""
    return re.sub(r"terminal-\d+", "terminal", svg)


def text_of(svg: str) -> list[str]:
    """What stands in it, for a failure's first lines."""
    return [re.sub("&#160;", " ", piece) for piece in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def path_of(name: str, size: tuple[int, int], theme: str) -> Path:
    return EXPECTED / f"{name.replace(' ', '-')}-{size[0]}x{size[1]}-{theme}.svg.gz"


def compare(path: Path, svg: str, update: bool) -> str:
    """What is wrong, or ""."""
    if update:
        path.parent.mkdir(exist_ok=True)
        old = gzip.decompress(path.read_bytes()).decode() if path.exists() else ""
        if old != svg:
            path.write_bytes(gzip.compress(svg.encode(), 9, mtime=0))
        return ""
    if not path.exists():
        return f"{path.name} was never looked at; {UPDATE}=1 takes it"
    expected = gzip.decompress(path.read_bytes()).decode()
    if expected == svg:
        return ""
    folder = Path(os.environ.get("BABYTUI_PICTURES", Path(tempfile.gettempdir()) / "babytui-snapshots"))
    folder.mkdir(exist_ok=True)
    stem = path.name.removesuffix(".svg.gz")
    files = [folder / f"{stem}.expected.svg", folder / f"{stem}.actual.svg"]
    for file, text in zip(files, (expected, svg), strict=True):
        file.write_text(text, encoding="utf-8")
    gone = [piece for piece in text_of(expected) if piece not in set(text_of(svg))]
    new = [piece for piece in text_of(svg) if piece not in set(text_of(expected))]
    return (f"{stem}: look at\n    {files[0]}\n    {files[1]}\n    gone: {gone[:5]}\n    new:  {new[:5]}" if gone or new
            else f"{stem}: other places or colours; look at\n    {files[0]}\n    {files[1]}")


@pytest.mark.parametrize("size", screens.SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("walk", screens.walks(), ids=lambda walk: walk[0].replace(" ", "-"))
async def test_it_looks_as_before(walk: list[str], size: tuple[int, int]) -> None:
    update = bool(os.environ.get(UPDATE))
    wrong = []
    with screens.same_every_time() as made:
        async with screens.walking(made, size) as (app, pilot):
            for name in walk:
                await screens.go(app, pilot, name)
                for theme in screens.THEMES:
                    await screens.dress(app, pilot, theme, name in screens.TOLD)
                    wrong += [f"{name} {theme}: {fault}" for fault in layout.faults(app)]
                    svg = normal(screens.steady(app.export_screenshot(title=name), made))
                    wrong.append(compare(path_of(name, size, theme), svg, update))
    assert not any(wrong), "\n" + "\n".join(filter(None, wrong))


def test_no_picture_is_left_over() -> None:
    """Of a screen that there is no more."""
    wanted = {path_of(name, size, theme) for name in screens.SCREENS for size in screens.SIZES
              for theme in screens.THEMES}
    assert not set(EXPECTED.glob("*")) - wanted


def test_a_difference_is_found_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BABYTUI_PICTURES", str(tmp_path / "seen"))
    path = tmp_path / "screen-80x24-dark.svg.gz"
    before, after = "<svg><text x='1'>loss 1.0</text></svg>", "<svg><text x='1'>loss 2.0</text></svg>"
    assert "never looked at" in compare(path, before, update=False)
    assert compare(path, before, update=True) == "" and compare(path, before, update=False) == ""
    said = compare(path, after, update=False)
    assert "loss 1.0" in said and "loss 2.0" in said
    assert (tmp_path / "seen" / "screen-80x24-dark.actual.svg").read_text() == after
