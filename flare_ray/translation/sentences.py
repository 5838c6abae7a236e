"""Sentences of a text in any script: where they end, by the marks that each script ends them with.

>>> [sentence for sentence, _ in sentences('Dr. Lee left. "Why?" she asked. Nobody knew.')]
['Dr. Lee left.', '"Why?" she asked.', 'Nobody knew.']
>>> [sentence for sentence, _ in sentences("你好。我走了！")]
['你好。', '我走了！']

Thai, Lao and Tibetan have no mark that ends a sentence and nothing else: their text is cut at line ends only. Nothing
is cut within brackets or quotation marks, so that the markers around an answer stay together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from flare_ray.core.languages import script_of
from flare_ray.translation import pieces
from flare_ray.translation.checkpoints import flores_code

Sentence = tuple[str, str]
"""A sentence and the blank space behind it."""

_CLOSERS = "\"'”’»›)\\]}」』）】》"
_END = re.compile(
    rf"(?P<spaced>[.!?…]+[{_CLOSERS}]*)\s+"
    rf"|(?P<marked>[。！？｡؟۔।॥။៕።፧։]+[{_CLOSERS}]*)\s*"
    rf"|(?P<line>)\s*\n\s*"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'“‘])(?:[^\W\d_]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Sra|Jr|Gen|Col|Lt|Sgt|Rev|Hon|No|Nr|vs|Mt|Ft|Fig|"
    r"e\.g|i\.e|cf|ca|approx|Inc|Ltd|Co|Corp|Bros|(?:[^\W\d_]\.)+[^\W\d_])\.$"
)
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">", "「": "」", "『": "』", "（": "）", "“": "”", "«": "»"}
_UNSPACED = ("Hans", "Hant", "Jpan")
_TAG = re.compile(r"</?[^\W\d_]>")
_INNER = '()[]{}<>「」『』（）“”«»"'


def sentences(text: str) -> list[Sentence]:
    """Return the sentences of a text; joined with their spaces they are the text again."""
    return list(_whole(list(_cut(text))))


def count(text: str) -> int:
    """Return the number of sentences that have a letter or digit."""
    return sum(any(map(str.isalnum, sentence)) for sentence, _ in sentences(text))


def join(translations: Sequence[str], spaces: Sequence[str], script: str) -> str:
    """Return translated sentences as one text.

    spaces: behind each sentence of the original. script: ISO 15924, of the translation: Chinese and Japanese take no
    space between sentences, every other script takes one where the original has none.
    """
    parts: list[str] = []
    for translation, space in zip(translations, spaces, strict=True):
        parts += [translation, _space(space, script)]
    return "".join(parts[:-1]) + (spaces[-1] if spaces else "")


def fitting(text: str, fits: Callable[[str], bool]) -> list[Sentence]:
    """Return the sentences of a text, those that do not fit cut further (pieces.py)."""
    fitted: list[Sentence] = []
    for sentence, space in sentences(text):
        parts = pieces.cut(sentence, fits)
        fitted += [*parts[:-1], (parts[-1][0], parts[-1][1] + space)]
    return fitted


def joiner(language: str) -> Callable[[Sequence[str], Sequence[str]], str]:
    """Return `join` for a target language by any name or code."""
    code = flores_code(language)
    return lambda translations, spaces: join(translations, spaces, script_of(code))


def _space(space: str, script: str) -> str:
    if script in _UNSPACED:
        return "" if space == " " else space
    return space or " "


def _cut(text: str) -> Iterator[Sentence]:
    """Yield pieces at every mark that may end a sentence."""
    start = 0
    for gap in _END.finditer(text):
        end = next(gap.end(name) for name in ("spaced", "marked", "line") if gap[name] is not None)
        if end <= start or gap.end() >= len(text):
            continue
        if gap["spaced"] and "\n" not in text[end : gap.end()] and _continues(text, start, end, gap.end()):
            continue
        yield text[start:end], text[end : gap.end()]
        start = gap.end()
    yield text[start:], ""


def _continues(text: str, start: int, end: int, behind: int) -> bool:
    """Report whether a full stop belongs to an abbreviation, or the sentence goes on in lower case."""
    return text[behind].islower() or _ABBREVIATION.search(text, start, end) is not None


def _whole(pieces: list[Sentence]) -> Iterator[Sentence]:
    """Yield pieces, those together that a bracket or quotation mark spans."""
    first = 0
    while first < len(pieces):
        last = first
        together = pieces[first][0]
        while not _balanced(together) and last + 1 < len(pieces):
            together += pieces[last][1] + pieces[last + 1][0]
            last += 1
        if _balanced(together):
            yield together, pieces[last][1]
            first = last + 1
        else:  # a mark that nothing closes
            yield pieces[first]
            first += 1


def _balanced(text: str) -> bool:
    """Report whether every bracket and quotation mark that opens is closed."""
    if not any(sign in text for sign in _INNER):
        return True
    tags = [tag.startswith("</") for tag in _TAG.findall(text)]
    return (
        text.count('"') % 2 == 0
        and tags.count(False) <= tags.count(True)
        and all(text.count(opener) <= text.count(closer) for opener, closer in _PAIRS.items())
    )
