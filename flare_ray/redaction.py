"""Credentials out of what is printed, logged or stored.

redacted("http://me:secret@mlflow.example:5000")  # http://***@mlflow.example:5000

Known are the values of the environment's variables that are named as secrets are, and what has the form of one:
user and password in a URI, signed or secret parameters of one, tokens of well-known services, private keys.
"""

from __future__ import annotations

import os
import re
import urllib.parse

_NAMES = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET"
    r"|(?:^|_)(?:PASS|TOKEN|(?<!PUBLIC_)KEY|APIKEY|ACCESS_KEY_ID|CONNECTION_STRING|DSN))$",
    re.IGNORECASE,
)
"""How variables are named that hold secrets; those that hold a secret's place end otherwise (`…_FILE`, `…_PATH`)."""
_SHORTEST = 6  # characters of a secret; a shorter one would blank ordinary words
_NO_SECRETS = ("default", "disabled", "enabled")
_USERINFO = re.compile(r"://([^/?#\s'\"]*)@")
_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")
_LONGEST_SCHEME = 64
_USERS = ("abfs", "wasb", "hdfs", "sftp", "ssh")
"""Schemes whose part before the `@` is a container's or a user's name; of others it may be a token."""
_PARAMETER = re.compile(
    r"([?&](?:password|passwd|token|access_token|api_?key|secret|sig|signature|x-amz-[\w-]+)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(authorization\W{1,4}\w+|Bearer) [A-Za-z0-9+/=._~\-]{8,}", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"\b([A-Z0-9_]*(?:PASSWORD|SECRET|TOKEN|(?:API|ACCESS|ACCOUNT|STORAGE|SECRET|PRIVATE|WANDB|FERNET)_KEY|ACCESS_KEY_ID)['\"]?\s*[=:]\s*['\"]?)"
    r"[^\s'\"$<{(]{8,}"
)
_TOKENS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|A[KS]IA[0-9A-Z]{16}\b|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|glpat-[\w\-]{20,}|sk-[\w\-]{20,}|xox[abprs]-[\w\-]{10,})"
)
_KEYS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_FORMS = (
    (_PARAMETER, r"\1***"),
    (_HEADER, r"\1 ***"),
    (_ASSIGNED, r"\1***"),
    (_TOKENS, "***"),
    (_KEYS, "***"),
)


LIMIT = 4 * 2**20
"""Characters of a text that are looked at and kept; what is longer is cut."""


def redacted(text: str) -> str:
    """Return the text without what the environment keeps secret, and without what looks like a secret.

    Takes time in proportion to the text's length, whatever is in it. A text beyond `LIMIT` is cut where a word ends,
    so that no half of a secret is left, and says so.
    """
    for secret in secrets():
        text = text.replace(secret, "***").replace(urllib.parse.quote(secret, safe=""), "***")
    cut = ""
    if len(text) > LIMIT:
        end = max(text.rfind(blank, 0, LIMIT) for blank in " \n\t\r")
        cut = f" [{len(text) - max(end, 0)} more characters were cut]"
        text = text[: max(end, 0)]
    text = _USERINFO.sub(_without_userinfo, text)
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text + cut


def has_password(url: str) -> bool:
    """Return whether a URL has a secret of its own: a password, or a parameter named as one."""
    return any(":" in match[1] for match in _USERINFO.finditer(url)) or bool(_PARAMETER.search(url))


def _without_userinfo(match: re.Match[str]) -> str:
    """Return `://***@`, or the match as it is where only a name is before the `@`."""
    if ":" in match[1]:
        return "://***@"
    start, text = match.start(), match.string
    first = start
    while first > max(0, start - _LONGEST_SCHEME) and text[first - 1] in _SCHEME:
        first -= 1
    words = re.split(r"[+.-]", text[first:start])
    return (
        "://***@" if any(word[:1].isalpha() and not word.startswith(_USERS) for word in words) else match[0]
    )


def secrets() -> list[str]:
    """Values of the environment's variables that are named as secrets are, longer ones first."""
    found = {value.strip() for name, value in os.environ.items() if _NAMES.search(name)}
    kept = (
        one
        for one in found
        if len(one) >= _SHORTEST and one.lower() not in _NO_SECRETS and not os.path.exists(one)
    )
    return sorted(kept, key=lambda one: (-len(one), one))
