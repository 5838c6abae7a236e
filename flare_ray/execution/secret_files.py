"""Files that look like secrets, by their names or since they hold a private key; none of them is sent with a job."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

_SECRETS = (
    *("*secret*", "*credential*", "*password*", "*passwd*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks"),
    *(
        "*.keystore",
        "*.kdbx",
        "*.ppk",
        "*.gpg",
        "*.asc",
        "*.env",
        "*.ovpn",
        "id_rsa*",
        "id_dsa*",
        "id_ecdsa*",
    ),
    *("id_ed25519*", "token", "token.*", "*_token", "*_token.*", "*.token", "*api_key*", "*apikey*"),
    *("service_account*", "service-account*", "kubeconfig*", "_netrc", "netrc", "htpasswd"),
    *(
        ".env*",
        ".netrc",
        ".aws",
        ".ssh",
        ".azure",
        ".gnupg",
        ".kube",
        ".docker",
        ".pgpass",
        ".npmrc",
        ".pypirc",
    ),
    *(".config", ".gcloud", ".boto", ".s3cfg", ".huggingface", ".databrickscfg", ".htpasswd", ".*token*"),
)
"""Names that usually stand for secrets, in lower case. Whatever begins with a dot stays as well."""
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]{0,40}PRIVATE KEY")
_HEAD = 64 * 2**10
"""Bytes of a file that are searched for a private key."""


def looks_secret(name: str) -> bool:
    """Return whether a file or folder of this name may hold secrets; Python's are code."""
    return not name.endswith(".py") and any(fnmatch(name.lower(), pattern) for pattern in _SECRETS)


def holds_private_key(file: Path) -> bool:
    """Return whether a file begins with a private key; the package's own code only speaks of them."""
    if file.suffix == ".py":
        return False
    try:
        with file.open("rb") as stream:
            return bool(_PRIVATE_KEY.search(stream.read(_HEAD)))
    except OSError:
        return False  # whoever copies it reports that
