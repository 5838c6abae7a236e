"""Redaction takes time in proportion to the text, and loses nothing where a text is long."""

import itertools
import secrets
import sys
import time

import pytest

from flare_ray import redaction
from flare_ray.redaction import redacted

PIECES = (
    *(
        "a.",
        "a-",
        "a+",
        "://",
        "a://",
        "://a:",
        "a:b@",
        "@",
        ":",
        "=",
        "?",
        "&",
        "?token=",
        "&x-amz-",
        "x-amz-a",
    ),
    *("-----BEGIN ", "-----BEGIN A", "-----BEGIN PRIVATE KEY-----", "-----END ", "PRIVATE KEY", "-----", "-"),
    *(
        "_KEY=",
        "_KEY",
        "API_KEY",
        "TOKEN",
        "TOKEN =",
        "PASSWORD:",
        "SECRET\t",
        "A_",
        "A",
        "a",
        "9",
        " ",
        "\n",
        "'",
    ),
    *(
        "authorization",
        "authorization: ",
        "authorization=a",
        "Bearer ",
        "Bearer",
        "hf_",
        "sk-",
        "github_pat_a",
    ),
    *("AKIA", "xoxb-", "https://u", "http://u:p", "\x00", "é", "$", "s3://", "abfs://a"),
)
ENDS = ("", "=", "@", "://", ":", "-----")
SMALL, TIMES = 15_000, 4


def seconds(text: str, tries: int = 3) -> float:
    """The least of some tries: what the machine does besides only adds."""
    taken = []
    for _ in range(tries):
        start = time.process_time()
        redacted(text)
        taken.append(time.process_time() - start)
    return min(taken)


def grows_too_fast(unit: str, head: str = "", tail: str = "") -> bool:
    """Whether four times the text takes much more than four times the time: 16 times where it is quadratic."""
    small = head + unit * (SMALL // len(unit)) + tail
    large = head + unit * (TIMES * SMALL // len(unit)) + tail
    if seconds(large, tries=1) < 0.05:  # the quadratic ones took a second and more
        return False
    return seconds(large) > 9 * max(seconds(small), 0.002)


@pytest.mark.parametrize("end", ENDS)
def test_a_repeated_piece_takes_linear_time(end: str) -> None:
    assert not [piece for piece in PIECES if grows_too_fast(piece, tail=end)]


@pytest.mark.parametrize(
    "head", ["://", "a://", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "A_KEY=", "?token="]
)
def test_so_does_one_behind_a_beginning(head: str) -> None:
    assert not [piece for piece in PIECES if grows_too_fast(piece, head=head)]


def test_so_do_two_pieces_in_turn() -> None:
    pairs = itertools.islice(itertools.permutations(PIECES, 2), 0, None, 23)
    assert not [one + two for one, two in pairs if grows_too_fast(one + two)]


def test_so_do_a_line_of_base64_and_what_the_issue_had() -> None:
    assert not grows_too_fast("QUJDRA")
    start = time.process_time()
    redacted("a." * 50_000)
    assert time.process_time() - start < 1, "it took more than 8 s"


def test_the_measure_finds_what_is_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    former = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.\-]*://)[^/?#\s'\"]*:[^/?#\s'\"]*@")
    monkeypatch.setattr(sys.modules[__name__], "SMALL", 4000)
    monkeypatch.setattr(redaction, "_FORMS", ((former, r"\1***@"),))
    assert grows_too_fast("a.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pw@host/x and git+ssh://tok@host", "http://***@host/x and git+ssh://***@host"),
        ("abfs://container@account/x", "abfs://container@account/x"),
        ("abfss://container@account/x", "abfss://container@account/x"),
        ("ssh://git@host", "ssh://git@host"),
        ("sftp://git:pw@host", "sftp://***@host"),
        ("http://a@b:c@host", "http://***@host"),
        ("two http://a:b@c/http://d:e@f", "two http://***@c/http://***@f"),
        ("x" * 500 + "://tok@host", "x" * 500 + "://***@host"),
        ("no scheme ://a@b", "no scheme ://a@b"),
    ],
)
def test_parts_of_a_uri_go_as_before(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("before", [0, 1, 7, 40, 10_000])
@pytest.mark.parametrize(
    "form",
    [
        "http://ann:{}@host/x",
        "https://host/x?sig={}",
        "Authorization: Bearer {}",
        "HF_TOKEN={}",
        "{}",
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_no_part_of_a_secret_is_left_where_a_text_is_cut(
    form: str, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"pl4nted{secrets.token_hex(20)}"
    monkeypatch.setenv("OUR_SERVICE_SECRET", secret if form == "{}" else "something-else")
    monkeypatch.setattr(redaction, "LIMIT", 20_000)
    filler = "word " * 4000
    kept = filler[: 20_000 - before] + form.format(secret) + " word" * 4000
    shown = redacted(kept)
    assert len(shown) < 20_100
    assert "more characters were cut]" in shown
    assert not [end for end in range(7, len(secret)) if secret[:end] in shown]


def test_a_long_text_without_a_blank_is_not_cut_in_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "LIMIT", 1000)
    assert redacted("http://ann:" + "pl4nted" * 1000).strip() == "[7011 more characters were cut]"


def test_a_secret_within_the_bound_goes_from_a_long_text() -> None:
    text = ("line of a log\n" * 50_000) + "HF_TOKEN=pl4ntedpl4nted\n"
    assert "pl4nted" not in redacted(text)
    assert len(redacted(text)) > len(text) - 20
