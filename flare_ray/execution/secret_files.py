"""Files that look like secrets, by their names or since they hold a private key; none of them is sent with a job."""

from __future__ import annotations

import re
from fnmatch import translate
from pathlib import Path

_NAMES = """
    *secret* *credential* *password* *passwd* *api_key* *apikey* token token.* *_token *_token.* *.token
    *.pem *.key *.p12 *.pfx *.jks *.keystore *.kdbx *.ppk *.gpg *.asc *.ovpn id_rsa* id_dsa* id_ecdsa* id_ed25519*
    service_account* service-account* kubeconfig* netrc _netrc htpasswd *.env
    .env* .netrc .aws .ssh .azure .gnupg .kube .docker .config .gcloud .boto .s3cfg .databrickscfg .huggingface
    .pgpass .npmrc .pypirc .htpasswd .*token*
"""
"""Names that usually stand for secrets, in lower case. Whatever begins with a dot stays as well."""
_SECRET = re.compile("|".join(map(translate, _NAMES.split())))
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]{0,40}PRIVATE KEY")
_HEAD = 64 * 2**10
"""Bytes of a file that are searched for a private key."""


def looks_secret(name: str) -> bool:
    """Return whether a file or folder of this name may hold secrets; Python's are code."""
    return not name.endswith(".py") and bool(_SECRET.match(name.lower()))


def holds_private_key(file: Path) -> bool:
    """Return whether a file begins with a private key; the package's own code only speaks of them."""
    if file.suffix == ".py":
        return False
    try:
        with file.open("rb") as stream:
            return bool(_PRIVATE_KEY.search(stream.read(_HEAD)))
    except OSError:
        return False  # whoever copies it reports that
