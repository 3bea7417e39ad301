"""Reads YAML that strangers wrote into nodes that know their line and column; what is hostile is refused."""

import yaml

SIZE_LIMIT = 1_000_000
NESTING_LIMIT = 64
DOCUMENT_LIMIT = 1_000


class BrokenYaml(Exception):
    """A text that is no YAML, or YAML that is not safe to read; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def compose(content: bytes) -> yaml.Node | None:
    """The one document of a YAML file, as nodes with line numbers; BrokenYaml for all that is hostile.

    The events are counted before nodes are made, because the C composer calls itself for each level and a deep file
    ends the whole process. Merge keys are refused, because some nested ones need all the memory there is.
    """
    return next(iter(_composed(content, most=1)), None)


def compose_all(content: bytes) -> list[yaml.Node]:
    """Every document of a YAML file, read as carefully."""
    return _composed(content, most=DOCUMENT_LIMIT)


def _composed(content: bytes, *, most: int) -> list[yaml.Node]:
    text = _text(content)
    try:
        _check_events(text, most)
        return [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "this is no YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise BrokenYaml(str(problem), line, column) from error


def _text(content: bytes) -> str:
    if len(content) > SIZE_LIMIT:
        raise BrokenYaml(f"the file is larger than {SIZE_LIMIT:,} bytes")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise BrokenYaml("the file is not UTF-8", *_place(content[: error.start])) from error
    if "\0" in text:
        raise BrokenYaml("the file holds a NUL", *_place(text[: text.index("\0")].encode()))
    return text


def _place(before: bytes) -> tuple[int, int]:
    """The line and column that follow what stands before."""
    return before.count(b"\n") + 1, len(before) - before.rfind(b"\n")


def _check_events(text: str, most: int) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        mark = event.start_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise BrokenYaml("merge keys (<<) are not supported", *place)
        if depth > NESTING_LIMIT:
            raise BrokenYaml(f"the file is nested more than {NESTING_LIMIT} levels deep", *place)
        if documents > most:
            many = "one document" if most == 1 else f"{most:,} documents"
            raise BrokenYaml(f"the file holds more than {many}", *place)
