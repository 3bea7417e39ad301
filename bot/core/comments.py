"""Finds the commands that a person wrote in a comment, and nothing that the person only quoted or showed."""

import bisect
import re
from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

BODY_LIMIT = 1_000_000  # characters; no forge lets a person write more
LINE_LIMIT = 1_000
COMMAND_LIMIT = 10
GUESS_LIMIT = 200  # lines with a slash, after which nobody's slips are looked for any more
NESTING_LIMIT = 32

# Whatever reads as quoted or as code, also when it is written in HTML and its content in Markdown. <details> is not
# among them: after a blank line its content is ordinary text, folded but shown, as CommonMark has it.
QUOTING = "blockquote|pre|code|samp|kbd|xmp|del|s|strike|q|table|template|textarea"

_BLOCK_NAMES = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)
_ATTRIBUTES = r"""(?:\s++[A-Za-z_:][\w.:-]*+(?:\s*+=\s*+(?:[^\s"'=<>`]++|'[^']{0,2000}+'|"[^"]{0,2000}+"))?)*+"""
_TAG = re.compile(rf"<[A-Za-z][A-Za-z0-9-]*+{_ATTRIBUTES}\s*+/?>|</[A-Za-z][A-Za-z0-9-]*+\s*+>", re.ASCII)
_HTML_STARTS: tuple[tuple[re.Pattern[str], re.Pattern[str] | None], ...] = (
    (
        re.compile(r"<(?:pre|script|style|textarea)(?=[ >]|$)", re.I),
        re.compile(r"</(?:pre|script|style|textarea)>", re.I),
    ),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<\?"), re.compile(r"\?>")),
    (re.compile(r"<![A-Za-z]"), re.compile(r">")),
    (re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")),
    (re.compile(rf"</?(?:{_BLOCK_NAMES})(?=[ >]|/>|$)", re.I), None),  # None: until a blank line
)
_QUOTING_TAG = re.compile(rf"<(/?)({QUOTING})(?=[\s/>]|$)", re.I)

_CANDIDATE = re.compile(r" {0,3}/[A-Za-z]")
_ANY_CANDIDATE = re.compile(r"^ {0,3}/[A-Za-z]", re.M)
_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_HEADING = re.compile(r"#{1,6}(?= |$)")
_RULE = re.compile(r"(?:\*[ ]*+){3,}$|(?:-[ ]*+){3,}$|(?:_[ ]*+){3,}$")
_UNDERLINE = re.compile(r"(?:=+|-+) *$")
_ITEM = re.compile(r"([-+*]|(\d{1,9})[.)])( +|$)", re.ASCII)
_DELIMITERS = re.compile(r"(?=.*[|:])\|? *:?-+:? *(?:\| *:?-+:? *)*+\|?$")
_TITLE = r"""(?:"(?:[^"\\]|\\[\s\S]){0,999}+"|'(?:[^'\\]|\\[\s\S]){0,999}+'|\((?:[^()\\]|\\[\s\S]){0,999}+\))"""
_DEFINITION = re.compile(
    rf"\s*+\[(?!\^)(?:[^\\\[\]]|\\.){{1,999}}+\]:\s*+(?:<[^<>\n]*+>|[^\s<]\S*+)(?:\s++{_TITLE})?[ \t]*+(?:\n|$)"
)
_LINK_TAIL = re.compile(
    rf"\]\(\s*+(?:<[^<>\n]{{0,2000}}+>|(?:[^\s()<]|\([^\s()]{{0,500}}+\)){{1,2000}}+)?+(?:\s++{_TITLE})?+\s*+\)"
)
_IMAGE = re.compile(r"!\[[^\[\]]{0,2000}+(?=\][(\[])")
_SPECIAL = re.compile(r"\\[\s\S]|`+|<|!\[|\]\(|\$\$")
_RUN = re.compile(r"`+")
_INLINE_HTML = (("<!--", "-->"), ("<?", "?>"), ("<![CDATA[", "]]>"), ("<!", ">"))

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}", re.ASCII)
_BLANKS = " \t\u00a0"
# What a reader does not see, or what changes the order of what is seen.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]|(?<=[\x00-\x7f])\u200d"
)
_CLOSING_QUOTES = {'"': '"', "'": "'", "“": "”"}


class Spoken(msgspec.Struct, frozen=True):
    """A command as somebody wrote it, on a line counted from 1. With an `error` it must not be carried out."""

    line: int
    name: str
    words: tuple[str, ...] = ()
    error: str | None = None


class NearMiss(msgspec.Struct, frozen=True):
    """A word that is no command but nearly one."""

    line: int
    word: str
    suggestion: str


class _Line(msgspec.Struct, frozen=True):
    """One line of a paragraph: its number, its text, and whether a command may stand there."""

    number: int
    text: str
    raw: str | None  # None: it is not at the start of a line, or it is quoted


class _Span(msgspec.Struct, frozen=True):
    """A part of a paragraph that is not shown as text: code, HTML, a link's target, an image's words, a formula."""

    start: int
    end: int
    html: bool = False


class _Visible(msgspec.Struct, frozen=True):
    """A line of ordinary text that begins with a slash and a letter."""

    number: int
    raw: str
    has_html: bool


def spoken(body: str, known: Collection[str]) -> list[Spoken | NearMiss]:
    """Every command and near miss of a comment, in the order of its lines.

    A command counts exactly where a forge shows it as the start of a line of ordinary text; where two readings are
    possible it is silent. Names are case-insensitive, because telephones write "/Deploy".
    """
    text = body.replace("\r\n", "\n").replace("\r", "\n")
    cut = text[:BODY_LIMIT]
    if not _ANY_CANDIDATE.search(cut):
        return []
    found: list[Spoken | NearMiss] = []
    for index, line in enumerate(_Blocks().read(cut)):
        understood = _understand(line, known, guess=index < GUESS_LIMIT)
        if understood is not None:
            found.append(understood)
    if len(text) > BODY_LIMIT and found:
        first = found[0]
        name = first.name if isinstance(first, Spoken) else first.suggestion
        return [Spoken(first.line, name, (), f"the comment is longer than {BODY_LIMIT:,} characters; nothing was done")]
    return _limited(found)


def _limited(found: list[Spoken | NearMiss]) -> list[Spoken | NearMiss]:
    """The first ten; one more tells how many were left out."""
    if len(found) <= COMMAND_LIMIT:
        return found
    left = found[COMMAND_LIMIT:]
    first = left[0]
    name = first.name if isinstance(first, Spoken) else first.suggestion
    error = f"a comment may hold {COMMAND_LIMIT} commands; {len(left)} from line {first.line} on were left out"
    return [*found[:COMMAND_LIMIT], Spoken(first.line, name, (), error)]


# A line that begins with a slash: is it for us?


def _understand(line: _Visible, known: Collection[str], guess: bool) -> Spoken | NearMiss | None:
    """The command, the near miss, or None where the slash means something else."""
    text = line.raw.strip(_BLANKS)
    word, rest = _first_word(text[1:])
    if _NAME.fullmatch(word) is None:
        return None
    name = word.lower()
    if name == "sluice" and name not in known:
        word, rest = _first_word(rest)
        name = word.lower()
        if name not in known:
            near = nearest(name, known) if guess else None
            return NearMiss(line.number, f"sluice {word}"[:50].rstrip(), f"sluice {near or 'help'}")
    if name in known:
        return _command(line, text, name, rest)
    suggestion = nearest(name, {*known, "sluice"}) if guess else None
    return None if suggestion is None else NearMiss(line.number, name, suggestion)


def _command(line: _Visible, text: str, name: str, rest: str) -> Spoken:
    """A line that begins with the name of a command."""
    if len(text) > LINE_LIMIT:
        return Spoken(line.number, name, (), f"the line is longer than {LINE_LIMIT:,} characters")
    unseen = _UNSEEN.search(rest)
    if unseen is not None:
        code = f"U+{ord(unseen.group()):04X}"
        return Spoken(line.number, name, (), f"the line holds a character that cannot be seen ({code}); type it anew")
    if line.has_html:
        return Spoken(line.number, name, (), "the line holds HTML, which a reader does not see")
    words, error = split(rest)
    return Spoken(line.number, name, words, error)


def _first_word(text: str) -> tuple[str, str]:
    """The text up to the first blank, and what comes after."""
    for index, character in enumerate(text):
        if character in _BLANKS:
            return text[:index], text[index + 1 :].strip(_BLANKS)
    return text, ""


def split(text: str) -> tuple[tuple[str, ...], str | None]:
    """The words of a line as a shell splits them by blanks and quotes; nothing is expanded, nothing is run.

    In double quotes a backslash keeps a quote or a backslash; elsewhere it is a character like any other. Curly
    double quotes count, because telephones write them. A quote that is not closed is an error; the words are then
    split by blanks.
    """
    words: list[str] = []
    word: list[str] = []
    begun, closing = False, ""
    characters = iter(text)
    for character in characters:
        if closing and character == closing:
            closing = ""
        elif closing == '"' and character == "\\":
            following = next(characters, "")
            word.append(following if following and following in '"\\' else character + following)
        elif not closing and character in _CLOSING_QUOTES:
            begun, closing = True, _CLOSING_QUOTES[character]
        elif closing or character not in _BLANKS:
            begun = True
            word.append(character)
        elif begun:
            words.append("".join(word))
            begun, word = False, []
    if closing:
        return tuple(re.split(f"[{_BLANKS}]+", text.strip(_BLANKS))), f"a quote ({closing}) is not closed"
    if begun:
        words.append("".join(word))
    return tuple(words), None


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that a slip of the finger makes into this one: one slip from 4 letters on, two from 8."""
    best: tuple[int, str] | None = None
    for name in known:
        allowed = 2 if len(name) >= 8 else 1 if len(name) >= 4 else 0
        if abs(len(name) - len(word)) > allowed:
            continue
        slips = distance(word, name)
        if 0 < slips <= allowed and (best is None or (slips, name) < best):
            best = (slips, name)
    return best[1] if best else None


def distance(left: str, right: str) -> int:
    """How many letters were left out, added, exchanged or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row = row, [i]
        for j, b in enumerate(right, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]


# Blocks: quotes, lists, code, HTML and tables, as CommonMark with GitHub's tables has them.


class _Blocks:
    """Reads a comment line by line and yields the lines of ordinary text that may hold a command.

    `containers` are the open quotes (0) and list items (the indentation of their content). Each line is looked at once
    per open container, and there are at most NESTING_LIMIT of these, so the time is linear in the text.
    """

    def __init__(self) -> None:
        self.containers: list[int] = []
        self.paragraph: list[_Line] = []
        self.fence = ""
        self.html: re.Pattern[str] | None = None
        self.in_html = False
        self.html_lines: list[str] = []
        self.empty_item = False
        self.unfinished = ""  # a fence that its list item ended before it was closed: taken for open, to be safe
        self.within: Counter[str] = Counter()  # open HTML elements that quote

    def read(self, text: str) -> Iterator[_Visible]:
        """All lines of the comment; `text` has "\\n" as its only line ending."""
        for number, raw in enumerate(text.split("\n"), 1):
            yield from self._line(number, raw)
        yield from self._close(0)

    def _line(self, number: int, raw: str) -> Iterator[_Visible]:
        full = raw.expandtabs(4)
        matched, text = self._enter(full)
        blank = not text.strip(" ")
        if self.unfinished and _closes(self.unfinished, full.lstrip(" ")):
            self.unfinished = ""
        if matched == len(self.containers) and (self.fence or self.in_html):
            self._go_on(text, blank)
            return
        if self.fence or self.in_html:
            yield from self._close(matched)
        opened = False
        while not blank and (step := self._container(text, matched, opened)) is not None:
            if not opened:
                yield from self._close(matched)
                opened = True
            marker, text = step
            self.containers.append(marker)
            blank = not text.strip(" ")
        yield from self._leaf(_Line(number, text, raw), matched, opened)
        self.empty_item = opened and blank and self.containers[-1] > 0

    def _enter(self, text: str) -> tuple[int, str]:
        """How many of the open containers go on in this line, and what is left of it."""
        if self.empty_item:
            self.empty_item = False
            if not text.strip(" >"):
                self.containers.pop()
        for index, marker in enumerate(self.containers):
            stripped = text.lstrip(" ")
            indent = len(text) - len(stripped)
            if marker:
                if stripped and indent < marker:
                    return index, text
                text = text[marker:]
            else:
                if indent > 3 or not stripped.startswith(">"):
                    return index, text
                text = stripped[1:].removeprefix(" ")
        return len(self.containers), text

    def _go_on(self, text: str, blank: bool) -> None:
        """A line inside a fence or an HTML block."""
        if self.fence:
            if len(text) - len(text.lstrip(" ")) <= 3 and _closes(self.fence, text.lstrip(" ")):
                self.fence = ""
            return
        self.html_lines.append(text)
        if blank if self.html is None else self.html.search(text):
            self._end_html()

    def _container(self, text: str, matched: int, opened: bool) -> tuple[int, str] | None:
        """A quote or a list item that begins here: its marker, and the rest of the line."""
        stripped = text.lstrip(" ")
        indent = len(text) - len(stripped)
        if indent > 3 or len(self.containers) >= NESTING_LIMIT:
            return None
        if stripped.startswith(">"):
            return 0, stripped[1:].removeprefix(" ")
        item = _ITEM.match(stripped)
        in_paragraph = bool(self.paragraph) and not opened and matched == len(self.containers)
        if item is None or _RULE.match(stripped) or (in_paragraph and _UNDERLINE.match(stripped)):
            return None
        rest = stripped[item.end(1) :]
        if in_paragraph and (not rest.strip(" ") or item[2] not in (None, "1")):
            return None
        blanks = len(rest) - len(rest.lstrip(" "))
        used = blanks if 1 <= blanks <= 4 and rest.strip(" ") else 1
        return indent + item.end(1) + used, rest[used:]

    def _leaf(self, line: _Line, matched: int, opened: bool) -> Iterator[_Visible]:
        """What is left of a line once its containers are known."""
        stripped = line.text.lstrip(" ")
        indent = len(line.text) - len(stripped)
        keep = len(self.containers) if opened else matched
        in_paragraph = bool(self.paragraph) and not opened
        if not stripped:
            yield from self._close(keep)
        elif in_paragraph and indent > 3:
            self.paragraph.append(_Line(line.number, stripped, None))
        elif indent > 3:
            yield from self._close(keep)
        elif self._starts_block(stripped, in_paragraph, in_paragraph and matched == len(self.containers)):
            yield from self._close(keep)
            self._begin(stripped)
        else:
            if not in_paragraph:
                yield from self._close(keep)
            quoted = matched > 0 or opened or bool(self.unfinished) or 0 in self.containers
            candidate = not quoted and line.raw is not None and _CANDIDATE.match(line.raw) is not None
            self.paragraph.append(_Line(line.number, stripped, line.raw if candidate else None))

    def _starts_block(self, text: str, in_paragraph: bool, whole: bool) -> bool:
        """Whether a heading, rule, fence or HTML block begins here (an underline ends its paragraph, too)."""
        if _FENCE.match(text) or _HEADING.match(text) or _RULE.match(text):
            return True
        if whole and _UNDERLINE.match(text):
            return True
        if not text.startswith("<"):
            return False
        if any(start.match(text) for start, _ in _HTML_STARTS):
            return True
        return not in_paragraph and _alone(text)

    def _begin(self, text: str) -> None:
        fence = _FENCE.match(text)
        if fence:
            self.fence = fence[1] or fence[2]
        elif text.startswith("<"):
            self.in_html, self.html_lines = True, [text]
            self.html = next((end for start, end in _HTML_STARTS if start.match(text)), None)
            if self.html is not None and self.html.search(text):
                self._end_html()

    def _end_html(self) -> None:
        if self.html is None and not self.containers:
            self._count("\n".join(self.html_lines))
        self.in_html, self.html, self.html_lines = False, None, []

    def _close(self, keep: int) -> Iterator[_Visible]:
        """Ends the open leaf and all containers but the first `keep`."""
        lines, self.paragraph = self.paragraph, []
        if lines:
            yield from self._paragraph(lines, not self.containers)
        if self.in_html:
            self._end_html()
        if self.fence and any(self.containers[keep:]) and 0 not in self.containers:
            self.unfinished = self.fence
        self.fence = ""
        self.empty_item = False
        del self.containers[keep:]

    def _paragraph(self, lines: list[_Line], outermost: bool) -> Iterator[_Visible]:
        """The candidates of a paragraph that are neither hidden nor code nor cells of a table."""
        candidates = [line for line in lines if line.raw is not None]
        text = "\n".join(line.text for line in lines)
        if not candidates and not (outermost and "<" in text):
            return
        table = _table_start(lines)
        spans = list(_spans(text))
        offset = passed = 0
        for index, line in enumerate(lines):
            end = offset + len(line.text)
            while passed < len(spans) and spans[passed].end <= offset:
                self._leave(text, spans[passed], outermost)
                passed += 1
            hidden = index >= table or (passed < len(spans) and spans[passed].start < offset)
            if line.raw is not None and not hidden and not any(self.within.values()):
                yield _Visible(line.number, line.raw, _has_html(spans, passed, end))
            offset = end + 1
        for span in spans[passed:]:
            self._leave(text, span, outermost)

    def _leave(self, text: str, span: _Span, outermost: bool) -> None:
        if span.html and outermost:
            self._count(text[span.start : span.end])

    def _count(self, html: str) -> None:
        """Keeps count of the quoting HTML elements that are open."""
        for tag in _QUOTING_TAG.finditer(html):
            name = tag[2].lower()
            self.within[name] = max(0, self.within[name] - 1) if tag[1] else self.within[name] + 1


def _closes(fence: str, text: str) -> bool:
    """Whether a line ends a fenced block; `text` is without its indentation."""
    run = len(text) - len(text.lstrip(fence[0]))
    return run >= len(fence) and not text[run:].strip(" ")


def _alone(text: str) -> bool:
    """Whether a line holds one HTML tag and nothing else."""
    tag = _TAG.match(text)
    return tag is not None and not text[tag.end() :].strip(" ")


def _table_start(lines: list[_Line]) -> int:
    """The index of the header of a table in a paragraph: its rows follow. Without a table, the number of lines."""
    for index in range(1, len(lines)):
        text = lines[index].text
        if text[0] in "|:-" and _DELIMITERS.match(text.rstrip(" ")) and _cells(text) == _cells(lines[index - 1].text):
            return index - 1
    return len(lines)


def _cells(text: str) -> int:
    """How many cells a row of a table has."""
    row = re.sub(r"\\.", "", text).strip(" ")
    return row.removeprefix("|").removesuffix("|").count("|") + 1


# Inside a paragraph.


def _has_html(spans: list[_Span], first: int, end: int) -> bool:
    """Whether HTML begins before `end` in one of the spans from `first` on."""
    while first < len(spans) and spans[first].start < end:
        if spans[first].html:
            return True
        first += 1
    return False


def _spans(text: str) -> Iterator[_Span]:
    """The hidden parts of a paragraph, in order and without overlaps."""
    position = 0
    while definition := _DEFINITION.match(text, position):
        yield _Span(position, definition.end())
        position = definition.end()
    closers = _Closers(text)
    while special := _SPECIAL.search(text, position):
        start, position = special.span()
        mark = special.group()
        html = mark == "<"
        end = closers.html(start) if html else closers.other(mark, start, position)
        if end is not None:
            yield _Span(start, end, html)
            position = end


class _Closers:
    """Finds where a hidden part ends. What has no end is asked for once only, so that the time stays linear."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.last: dict[str, int] = {}
        self.runs: dict[int, list[int]] = {}
        for run in _RUN.finditer(text):
            self.runs.setdefault(len(run.group()), []).append(run.start())

    def other(self, mark: str, start: int, after: int) -> int | None:
        """The end of a code span, a formula, an image's words or a link's target; None if it is none of them."""
        if mark[0] == "`":
            runs = self.runs.get(len(mark), [])
            index = bisect.bisect_left(runs, after)
            return runs[index] + len(mark) if index < len(runs) else None
        if mark == "$$":
            return self._find("$$", after)
        pattern = {"![": _IMAGE, "](": _LINK_TAIL}.get(mark)
        match = pattern.match(self.text, start) if pattern else None
        return match.end() if match else None

    def html(self, start: int) -> int | None:
        """The end of a tag, comment, instruction or declaration that begins here."""
        tag = _TAG.match(self.text, start)
        if tag:
            return tag.end()
        for opening, closing in _INLINE_HTML:
            if self.text.startswith(opening, start):
                if opening == "<!" and not self.text[start + 2 : start + 3].isalpha():
                    return None
                return self._find(closing, start + 2)
        return None

    def _find(self, closing: str, start: int) -> int | None:
        if closing not in self.last:
            self.last[closing] = self.text.rfind(closing)
        if self.last[closing] < start:
            return None
        return self.text.find(closing, start) + len(closing)
