"""Draws a demo run's pull request as people see it: `python -m bot.sandbox.picture docs/demo.svg`."""

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path
from xml.sax.saxutils import escape

import msgspec

from bot.core.deployments import short
from bot.sandbox.stage import Remark, Said, SandboxStage
from bot.sandbox.story import STEPS, Scene, deploy

WIDTH, MARGIN, LINE = 800, 24, 21
SANS = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
INK, GREY, EDGE, HEAD, BLUE = "#1f2328", "#59636e", "#d1d9e0", "#f6f8fa", "#0550ae"
GREEN, AMBER, RED = "#1a7f37", "#9a6700", "#cf222e"
COLOURS = {"success": GREEN, "pending": AMBER}
FACES = {"olivia": "#8250df", "wendy": "#bf3989", "mallory": "#bc4c00"}
COLUMNS = (0, 26, 140, 250, 350, 490)  # of the comment's table
PER_LETTER = 7.4  # more than any of the fonts needs, so that nothing runs over the edge
STEADY = ((r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "2026-03-02 09:30 UTC"), (r"in \d+(\.\d+)? s\b", "in 1 s"))

Style = tuple[str, str]  # what to write, and how: plain, code or bold


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request at one moment."""

    number: int
    title: str
    author: str
    branch: str
    commit: str
    remarks: Sequence[Remark]
    statuses: Sequence[Said]


def take() -> Shot:
    """Play the story until a pull request's head is live, and look at it."""
    with SandboxStage() as stage:
        scene = Scene(stage)
        for step in STEPS:
            step.play(scene)
            if step.play is deploy:
                break
        stage.wait_for(lambda: "| live |" in _comment(scene), "the comment says live", 10)
        head = stage.head(scene.repository, scene.change_branch) or ""
        return _steady(
            Shot(
                number=scene.change,
                title="A festive greeting",
                author=stage.login("writer"),
                branch=scene.change_branch,
                commit=short(head),
                remarks=stage.comments(scene.repository, scene.change),
                statuses=stage.statuses(scene.repository, head, "sluice/development"),
            )
        )


def _comment(scene: Scene) -> str:
    found = scene.stage.comments(scene.repository, scene.change)
    return next((each.text for each in found if each.author == scene.stage.bot), "")


def _steady(shot: Shot) -> Shot:
    """The same at each run: times, durations and the commit's name are stand-ins."""
    text = msgspec.json.encode(shot).decode()
    for pattern, stand_in in STEADY:
        text = re.sub(pattern, stand_in, text)
    text = text.replace(shot.commit, hashlib.sha256(shot.branch.encode()).hexdigest()[:7])
    return msgspec.json.decode(text, type=Shot)


class Sheet:
    """Elements from top to bottom; `y` is where the next one begins."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.y = MARGIN

    def box(self, y: float, height: float, fill: str = "none", *, inset: float = 0, edge: str = EDGE) -> str:
        """A rounded box over the width of the page."""
        size = f'width="{WIDTH - 2 * MARGIN - 2 * inset}" height="{height}"'
        return f'<rect x="{MARGIN + inset}" y="{y}" {size} rx="6" fill="{fill}" stroke="{edge}"/>'

    def text(self, x: float, y: float, pieces: Sequence[Style], *, size: int = 14, fill: str = INK) -> None:
        """One line of several styles."""
        spans = "".join(_span(words, style, size) for words, style in pieces)
        self.elements.append(f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}">{spans}</text>')

    def dot(self, x: float, y: float, colour: str, radius: float = 5) -> None:
        """A filled circle."""
        self.elements.append(f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}"/>')

    def svg(self) -> str:
        """The whole picture."""
        height = self.y + MARGIN - 8
        view = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        label = 'role="img" aria-label="A pull request conversation with Sluice: comments, its answer and statuses"'
        open_ = f'<svg xmlns="http://www.w3.org/2000/svg" {view} {label} font-family="{SANS}">'
        page = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10" fill="#fff" stroke="{EDGE}"/>'
        return "\n".join([open_, page, *self.elements, "</svg>", ""])


def draw(shot: Shot) -> str:
    """The pull request's page."""
    sheet = Sheet()
    _title(sheet, shot)
    for remark in shot.remarks:
        _remark(sheet, remark)
    _statuses(sheet, shot)
    return sheet.svg()


def _title(sheet: Sheet, shot: Shot) -> None:
    sheet.text(MARGIN, sheet.y + 22, [(shot.title, "plain"), (f" #{shot.number}", "grey")], size=24)
    top = sheet.y + 38
    sheet.elements.append(f'<rect x="{MARGIN}" y="{top}" width="66" height="28" rx="14" fill="{GREEN}"/>')
    middle = f'x="{MARGIN + 33}" y="{top + 19}" text-anchor="middle"'
    sheet.elements.append(f'<text {middle} font-size="14" fill="#fff" font-weight="600">Open</text>')
    wish = [(shot.author, "bold"), (" wants to merge 1 commit into ", "plain"), ("main", "code"), (" from ", "plain")]
    sheet.text(MARGIN + 80, top + 19, [*wish, (shot.branch, "code")], fill=GREY)
    sheet.y = top + 46


def _remark(sheet: Sheet, remark: Remark) -> None:
    """A comment in its box."""
    top, ours = sheet.y, remark.author not in FACES
    place = len(sheet.elements)
    initial = remark.author[0].upper()
    colour = FACES.get(remark.author, BLUE)
    sheet.y = top + 38 + 24
    for block in _blocks(remark.text):
        _block(sheet, block)
    height = sheet.y - top - 6
    frame = [sheet.box(top, height, "#fff"), sheet.box(top, 36, HEAD), _cover(top), sheet.box(top, height)]
    sheet.elements[place:place] = frame
    sheet.dot(MARGIN + 22, top + 18, colour, 11)
    letter = f'x="{MARGIN + 22}" y="{top + 22.5}" text-anchor="middle"'
    sheet.elements.append(f'<text {letter} font-size="12" fill="#fff" font-weight="600">{initial}</text>')
    said = " commented · edited in place" if ours else " commented"
    sheet.text(MARGIN + 42, top + 23, [(remark.author, "bold"), (said, "grey")])
    sheet.y += 12


def _cover(top: float) -> str:
    """The lower corners of a comment's head are square, with a line below."""
    size = f'width="{WIDTH - 2 * MARGIN - 1}" height="10"'
    line = f'<path d="M{MARGIN} {top + 36.5}H{WIDTH - MARGIN}" stroke="{EDGE}"/>'
    return f'<rect x="{MARGIN + 0.5}" y="{top + 27}" {size} fill="{HEAD}"/>{line}'


def _blocks(markdown: str) -> Iterator[str]:
    """The comment's visible lines."""
    for line in markdown.splitlines():
        if line.strip() and not line.startswith(("<!--", "|---")):
            yield unescape(line).replace("\u200d", "")


def _block(sheet: Sheet, line: str) -> None:
    x = MARGIN + 16
    if line.startswith("### "):
        sheet.text(x, sheet.y + 2, [(line[4:], "bold")], size=17)
        sheet.y += LINE + 8
    elif line.startswith("|"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        head = not cells[0] and cells[1] == "Environment"
        for at, cell in zip(COLUMNS, cells, strict=True):
            pieces = [(cell, "bold")] if head else _coloured(list(_inline(cell)))
            sheet.text(x + at, sheet.y, pieces, size=13)
        sheet.elements.append(f'<path d="M{x} {sheet.y + 8}H{WIDTH - x}" stroke="{EDGE}"/>')
        sheet.y += LINE + (6 if head else 14)
    else:
        bullet = line.startswith("- ")
        sheet.y += 8 if line.startswith("Write ") else 0
        for number, row in enumerate(_wrapped(line[2:] if bullet else line, WIDTH - 2 * x - 20)):
            sheet.text(x + (20 if bullet and number else 0), sheet.y, _coloured(row))
            sheet.y += LINE


def _coloured(row: Sequence[Style]) -> list[Style]:
    """A leading sign gets its colour."""
    if row and row[0][0][:1] in ("✓", "✗"):
        sign = row[0][0][:1]
        return [(sign, "good" if sign == "✓" else "bad"), (row[0][0][1:], row[0][1]), *row[1:]]
    return list(row)


def _inline(text: str) -> Iterator[Style]:
    """Code spans and bold words."""
    for found in re.finditer(r"`([^`]+)`|\*\*([^*]+)\*\*|([^`*]+)", text):
        words = next(filter(None, found.groups()), "")
        yield words, "code" if found[1] else "bold" if found[2] else "plain"


def _wrapped(text: str, width: float) -> Iterator[list[Style]]:
    """Lines of styled words that fit the width, by a careful guess of the font's."""
    row: list[Style] = []
    used = 0.0
    for words, style in _inline(text):
        for word in re.findall(r"\S+\s*|\s+", words):
            long = len(word) * PER_LETTER
            if row and used + long > width:
                yield row
                row, used = [], 0.0
            row.append((word, style))
            used += long
    yield row


def _span(words: str, style: str, size: int) -> str:
    looks = {
        "plain": "",
        "bold": ' font-weight="600"',
        "code": f' font-family="{MONO}" font-size="{size - 1.5:g}" fill="{BLUE}"',
        "grey": f' fill="{GREY}"',
        "good": f' fill="{GREEN}" font-weight="600"',
        "bad": f' fill="{RED}" font-weight="600"',
    }
    return f'<tspan xml:space="preserve"{looks[style]}>{escape(words)}</tspan>'


def _statuses(sheet: Sheet, shot: Shot) -> None:
    """What was said of the head, oldest first, as the commit's list of statuses."""
    top = sheet.y
    height = 44 + len(shot.statuses) * (LINE + 5) + 4
    last = shot.statuses[-1].state
    sheet.elements.append(sheet.box(top, height, "#fff", edge=COLOURS.get(last, RED)))
    sheet.dot(MARGIN + 22, top + 24, COLOURS.get(last, RED), 8)
    verdict = "All checks have passed" if last == "success" else "Some checks were not successful"
    sheet.text(MARGIN + 42, top + 29, [(verdict, "bold"), (f" on {shot.commit}, one status after the other", "grey")])
    sheet.y = top + 44
    for said in shot.statuses:
        sheet.y += LINE + 5
        sheet.dot(MARGIN + 22, sheet.y - 15, COLOURS.get(said.state, RED))
        pieces = [("sluice/development", "bold"), (f"   {said.state} — ", "grey"), (said.text, "plain")]
        sheet.text(MARGIN + 42, sheet.y - 10, pieces, size=13)
    sheet.y = top + height + 8


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(take()), encoding="utf-8")
