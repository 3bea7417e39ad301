"""Asks a forge once for what never changes: what a commit or an object id names is fixed for ever."""

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")
Method = Callable[..., Awaitable[Answer]]


def remembered(most: int) -> Callable[[Method[Answer]], Method[Answer]]:
    """Decorates a method: its last `most` answers are kept, by its arguments, and those who ask together ask once.

    A failure is told to all who wait for it, and is not kept.
    """

    def decorate(method: Method[Answer]) -> Method[Answer]:
        place = f"_answers_of_{method.__name__}"

        @functools.wraps(method)
        async def ask(self: Any, *question: Any) -> Answer:
            answers: OrderedDict[Any, asyncio.Future[Answer]] = self.__dict__.setdefault(place, OrderedDict())
            answer = answers.get(question)
            if answer is None:
                answer = answers[question] = asyncio.ensure_future(method(self, *question))
                answer.add_done_callback(lambda done: _forget_failure(answers, question, done))
            answers.move_to_end(question)
            while len(answers) > most:
                answers.popitem(last=False)
            return await asyncio.shield(answer)

        return ask

    return decorate


def _forget_failure(answers: OrderedDict[Any, Any], question: Any, done: asyncio.Future[Any]) -> None:
    if (done.cancelled() or done.exception() is not None) and answers.get(question) is done:
        del answers[question]
