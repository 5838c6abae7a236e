"""Files that look like secrets, by their names or by what they hold; none of them is sent with a job."""

from __future__ import annotations

import re
from fnmatch import translate
from pathlib import Path

_NAMES = """
    *secret* *credential* *password* *passwd* *api_key* *apikey* token token.* *_token *_token.* *.token
    *.pem *.key *.p12 *.pfx *.jks *.keystore *.kdbx *.ppk *.gpg *.asc *.ovpn id_rsa* id_dsa* id_ecdsa* id_ed25519*
    service_account* service-account* kubeconfig* netrc _netrc htpasswd *.env
    .env* .netrc .aws .ssh .azure .gnupg .kube .docker .config .gcloud .boto .s3cfg .databrickscfg .huggingface
    *.netrc *.env.* *private*key* *_key.* *-key.* *_keys *_keys.* *.p8 *.tfstate* *cookies* rclone.conf *.p7b *.crypt
    .pgpass .npmrc .pypirc .htpasswd .*token*
"""
"""Names that usually stand for secrets, in lower case. Whatever begins with a dot stays as well."""
_SECRET = re.compile("|".join(map(translate, _NAMES.split())))
_HELD = re.compile(
    rb"-----BEGIN [A-Z ]{0,40}PRIVATE KEY|aws_secret_access_key['\"]?\s{0,20}[=:]|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bhf_[A-Za-z0-9]{30,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w\-]{20,}",
    re.IGNORECASE,
)
"""Private keys and tokens of well-known forms."""
_HEAD = 2**20
"""Bytes of a file that are searched."""


def looks_secret(name: str) -> bool:
    """Return whether a file or folder of this name may hold secrets."""
    return bool(_SECRET.match(name.lower()))


def holds_secret(file: Path) -> bool:
    """Return whether a file begins with a private key, or has a token of a well-known form near its beginning."""
    try:
        with file.open("rb") as stream:
            return bool(_HELD.search(stream.read(_HEAD)))
    except OSError:
        return False  # whoever copies it reports that
