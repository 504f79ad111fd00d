"""What can be odd about answers, what is done about it, and how much of it is too much.

The shares are conventions, and stand in the docs beside the reasons for them. What is
mended, or left out because somebody said so, may be any number; what is lost unseen may
be one in a hundred; ids that do not fit what the answers say may not be at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal[
    "score is not finite",
    "score out of range",
    "score rounded to the range",
    "box is not finite",
    "box ends before it begins",
    "box without area",
    "box outside of the image",
    "box clipped to the image",
    "duplicate",
    "one of several labels",
    "unknown label",
    "unknown category id",
    "ignored label",
    "label in another spelling",
    "label by another name",
    "label that nothing is",
    "labels shifted by one",
    "labels in another order",
    "no label",
    "item found by its file",
    "item not in the truth",
    "items shifted by one",
    "item without an answer",
    "item answered with nothing",
    "item not answered by everybody",
    "unreadable entry",
    "file without an item",
    "file without a use",
]
"""What can be odd about an answer."""

Action = Literal["dropped", "mended", "noted"]
"""What is done about it: an entry or item is left out, corrected, or kept as it is."""

Unit = Literal["entries", "items", "files"]
"""What is counted: boxes and labels, what is answered, or files of answers."""

REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRule:
    """What a finding means to a measurement.

    Attributes:
        action: what is done about it.
        what: what became of what is counted, behind *entries of* somebody.
        max_share: the share from which the measurement is not valid.
        advice: what to do then.
        unit: what is counted.
    """

    action: Action
    what: str
    max_share: float
    advice: str
    unit: Unit = "entries"


_ANY, _FEW = 1.0, 0.01
_EXPORT = "Look at the entries that are named, and write the provider's answers again."
_IDS = (
    "Compare its ids with those of the truth; where its file holds other items on "
    'purpose, set data.mismatch = "intersection".'
)
_BOXES = (
    "Boxes are corners in px of the image as people see it: compare them with its size."
)
_WORDS = (
    "Say in data.vocabulary what the words mean: a table that comes with midhaul, or a "
    "file with synonyms, ignored words, or ignores_others = true."
)

RULES: dict[Reason, FindingRule] = {
    "score is not finite": FindingRule(
        action="dropped",
        what="have a score that is no number and were dropped",
        max_share=_FEW,
        advice=_EXPORT,
    ),
    "score out of range": FindingRule(
        action="dropped",
        what="have a score outside of 0 to 1 and were dropped",
        max_share=_FEW,
        advice="Name the provider in data.percent_providers if they are percentages.",
    ),
    "score rounded to the range": FindingRule(
        action="mended",
        what="have a score that was rounded to 0 or 1",
        max_share=_ANY,
        advice=_EXPORT,
    ),
    "box is not finite": FindingRule(
        action="dropped",
        what="have corners that are no numbers and were dropped",
        max_share=_FEW,
        advice=_EXPORT,
    ),
    "box ends before it begins": FindingRule(
        action="dropped",
        what="have a box that ends before it begins and were dropped",
        max_share=_FEW,
        advice=_BOXES,
    ),
    "box without area": FindingRule(
        action="dropped",
        what="have a box without area and were dropped",
        max_share=_FEW,
        advice=_BOXES,
    ),
    "box outside of the image": FindingRule(
        action="dropped",
        what="have a box outside of the image and were dropped",
        max_share=_FEW,
        advice=_BOXES,
    ),
    "box clipped to the image": FindingRule(
        action="mended",
        what="have a box that was clipped to the image",
        max_share=0.25,
        advice=_BOXES,
    ),
    "duplicate": FindingRule(
        action="dropped",
        what="say what a better one says and were dropped",
        max_share=_ANY,
        advice=_EXPORT,
    ),
    "one of several labels": FindingRule(
        action="dropped",
        what="stand beside a label with a better score and were dropped",
        max_share=_ANY,
        advice='Set data.task = "tags" where an item has several labels.',
    ),
    "unknown label": FindingRule(
        action="dropped",
        what="have a word that means none of the labels and were dropped",
        max_share=0.05,
        advice=_WORDS,
    ),
    "unknown category id": FindingRule(
        action="dropped",
        what="have a category id that the truth does not have and were dropped",
        max_share=_FEW,
        advice="Write the ids that the truth's list of categories has: some begin at "
        "1, some leave numbers out.",
    ),
    "ignored label": FindingRule(
        action="dropped",
        what="have a word that was declared to mean none of the labels",
        max_share=_ANY,
        advice=_WORDS,
    ),
    "label in another spelling": FindingRule(
        action="mended",
        what="have a label that the truth spells otherwise, and were taken for it",
        max_share=_ANY,
        advice=_WORDS,
    ),
    "label by another name": FindingRule(
        action="noted",
        what="have a label that is another word for one of the truth, and count as "
        "wrong",
        max_share=_FEW,
        advice=_WORDS,
    ),
    "label that nothing is": FindingRule(
        action="noted",
        what="have a label that nothing of the truth has",
        max_share=0.9,
        advice=_WORDS,
    ),
    "labels shifted by one": FindingRule(
        action="noted",
        what="have another label than the true thing that they found, and would have "
        "its own if ids were shifted by one",
        max_share=0.0,
        advice="Its ids look shifted by one: count labels from where the truth does.",
    ),
    "labels in another order": FindingRule(
        action="noted",
        what="have another label than the true thing that they found, always the same "
        "one",
        max_share=0.0,
        advice="Its labels look exchanged: compare the order of its label list with "
        "the truth's.",
    ),
    "no label": FindingRule(
        action="noted",
        what="were left without a label and count as not answered",
        max_share=0.05,
        advice=_WORDS,
        unit="items",
    ),
    "item found by its file": FindingRule(
        action="mended",
        what="name an item by its file, and were taken to be about that",
        max_share=_ANY,
        advice=_IDS,
    ),
    "item not in the truth": FindingRule(
        action="dropped",
        what="are about an item that the truth does not have and were dropped",
        max_share=_FEW,
        advice=_IDS,
    ),
    "items shifted by one": FindingRule(
        action="noted",
        what="do not fit what their item shows, and would fit the one beside it",
        max_share=0.0,
        advice="Its ids look shifted by one: number items from where the truth does.",
        unit="items",
    ),
    "item without an answer": FindingRule(
        action="noted",
        what="have no answer, which counts as a wrong one",
        max_share=0.05,
        advice='Ask about them again, or set data.mismatch = "intersection" to judge '
        "on what everybody has answered.",
        unit="items",
    ),
    "item answered with nothing": FindingRule(
        action="noted",
        what="were answered with nothing, though there is something to find",
        max_share=0.5,
        advice="Look whether its file was cut short, or leave it out with "
        "data.providers.",
        unit="items",
    ),
    "item not answered by everybody": FindingRule(
        action="dropped",
        what="are not answered by everybody and were left out",
        max_share=0.5,
        advice=_IDS,
        unit="items",
    ),
    "unreadable entry": FindingRule(
        action="dropped",
        what="cannot be read and were dropped",
        max_share=_FEW,
        advice=_EXPORT,
    ),
    "file without an item": FindingRule(
        action="dropped",
        what="belong to no item and were not read",
        max_share=_FEW,
        advice=_IDS,
        unit="files",
    ),
    "file without a use": FindingRule(
        action="dropped",
        what="hold nothing that is of use here",
        max_share=_ANY,
        advice=_EXPORT,
        unit="files",
    ),
}
"""The rule for each reason."""
