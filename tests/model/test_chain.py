"""Thousands of stories of one environment, with everything that must always be true checked after each step."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.chain import RULES, Chain, play, violations

NUMBER = st.integers(0, 839)  # divisible by what the steps divide by


class Story(RuleBasedStateMachine):
    """The steps of the model, chosen and made smaller by Hypothesis."""

    @initialize(rules=st.integers(0, len(RULES) - 1))
    def begin(self, rules: int) -> None:
        self.chain = Chain(rules)

    @rule(steps=st.lists(st.tuples(st.sampled_from(Chain.STEPS), NUMBER, NUMBER, NUMBER), min_size=1, max_size=8))
    def go(self, steps: list[tuple[str, int, int, int]]) -> None:
        for step in steps:
            self.chain.step(*step)

    def teardown(self) -> None:
        if hasattr(self, "chain"):
            self.chain.finish()


# The same stories each time; `make chaos` plays others.
TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=2_000,
    stateful_step_count=8,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_stories_by_chance() -> None:
    """What Hypothesis does not think of: longer ones, by plain chance."""
    assert violations(0, 400, steps=150) == []


def test_the_stories_have_everything_in_them() -> None:
    """A model in which nothing happens would find nothing."""
    seen: dict[str, int] = {}

    def count(counts: dict[str, int]) -> None:
        for what, times in counts.items():
            seen[what] = seen.get(what, 0) + times

    for seed in range(300):
        play(seed, 60, count)
    wanted = {
        *("Open", "End", "VoidVoices", "Release", "Pin", "Unpin", "Hold", "EndHold", "voice", "review", "ref_changed"),
        *("push wait", "push go", "let push", "deploy wait", "deploy go", "deploy refuse", "let deploy"),
        *("Record", "promote wait", "promote go", "let promote", "resume wait", "resume go", "lock expired"),
    }
    assert wanted <= seen.keys()
