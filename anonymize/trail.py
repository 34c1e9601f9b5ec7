"""The account of a de-identification: what was done to each element and by which rule, and never a value."""

from typing import NamedTuple

from anonymize.options import Option
from anonymize.rules import Action, Rule


class Decision(NamedTuple):
    """What was done to one element, and by which rule: the trail holds one for each, never a value.

    `within` is the way to the element from the top: the tag of each sequence followed by the number of the item, from
    1. `option` is the option of the policy that the rule OPTION followed.
    """

    within: tuple[int, ...]
    tag: int
    action: Action
    rule: Rule
    option: Option | None = None

    @property
    def path(self) -> tuple[int, ...]:
        """The way to the element, and its tag."""
        return (*self.within, self.tag)

    @property
    def where(self) -> str:
        """The path as (gggg,eeee)[item].(gggg,eeee)."""
        steps = [f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in self.path[::2]]
        items = [f"[{number}]." for number in self.path[1::2]]
        return "".join(step + item for step, item in zip(steps, [*items, ""], strict=True))

    @property
    def reason(self) -> str:
        """The rule and, if it followed one, the option."""
        return f"{self.rule.value} {self.option.value}" if self.option else self.rule.value

    def __str__(self) -> str:
        return f"{self.where} {self.action.value} ({self.reason})"
