"""Pictures of every screen, and what is wrong with their layout: `python tests/snapshots/look.py [--only SCREEN…]
[--size 80x24…] [--theme NAME…] [--to FOLDER]`.

Writes an SVG of each (default: to ./pictures), and a PNG where rsvg-convert is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import layout  # noqa: E402
import screens  # noqa: E402


def narrowed(svg: str) -> str:
    """Without the spaces around each text, which rsvg-convert drops and stretches the rest for."""

    text = re.compile(r'<text([^>]*?)x="([\d.]+)"([^>]*?)textLength="([\d.]+)"([^>]*)>'
                      r'((?:&#160;)*)(.*?)((?:&#160;)*)</text>')

    def cut(found: re.Match[str]) -> str:
        before, after = len(found[6]) // 6, len(found[8]) // 6
        if not found[7]:
            return ""
        x, length = float(found[2]) + 12.2 * before, float(found[4]) - 12.2 * (before + after)
        return f'<text{found[1]}x="{x:.1f}"{found[3]}textLength="{length:.1f}"{found[5]}>{found[7]}</text>'

    return text.sub(cut, svg)


async def look(names: list[str], sizes: list[tuple[int, int]], themes: list[str], folder: Path) -> int:
    """How many faults there are; each is printed."""
    count = 0
    with screens.same_every_time() as made:
        for name in names:
            for size in sizes:
                async with screens.opened(name, made, size, themes[0]) as (app, pilot):
                    for theme in themes:
                        await screens.dress(app, pilot, theme)
                        title = f"{name} {size[0]}x{size[1]} {theme}"
                        for fault in layout.faults(app):
                            print(f"{title}: {fault}", flush=True)
                            count += 1
                        picture(app.export_screenshot(title=title), folder / title.replace(" ", "-"))
    return count


def picture(svg: str, path: Path) -> None:
    """Writes path.svg and, if possible, path.png."""
    path.parent.mkdir(parents=True, exist_ok=True)
    svg_path = path.with_name(path.name + ".svg")
    svg_path.write_text(svg, encoding="utf-8")
    if shutil.which("rsvg-convert"):
        subprocess.run(["rsvg-convert", "-o", str(path.with_name(path.name + ".png"))], input=narrowed(svg).encode(),
                       check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="SCREEN", choices=list(screens.SCREENS), help="these screens")
    parser.add_argument("--size", nargs="+", metavar="WxH", help="these sizes of the terminal")
    parser.add_argument("--theme", nargs="+", metavar="NAME", help="these themes")
    parser.add_argument("--to", type=Path, default=Path("pictures"), metavar="FOLDER")
    given = parser.parse_args()
    sizes = [(int(w), int(h)) for w, h in (size.split("x") for size in given.size)] if given.size else screens.SIZES
    return min(1, asyncio.run(look(given.only or list(screens.SCREENS), list(sizes),
                                   given.theme or list(screens.THEMES[:1]), given.to)))


if __name__ == "__main__":
    sys.exit(main())
