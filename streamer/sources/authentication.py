"""Logging in: Digest (RFC 7616, RFC 2617, RFC 2069) and Basic, of which FFmpeg lacks SHA-256."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamer.runtime.credentials import Credentials

# Keeps the bytes of any coding.
_CODING = ("utf-8", "surrogateescape")
# Strongest first. Cameras also write SHA256 for SHA-256.
_NAMES = {"sha512256": "sha512_256", "sha256": "sha256", "md5": "md5"}
_HASHES = [each for each, name in _NAMES.items() if name in hashlib.algorithms_available]
_ITEM = re.compile(
    r"[\s,]*(?:"
    r"(?P<name>[\w*-]+)\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^,\"]*))"
    r"|(?P<scheme>[\w-]+)(?=\s|,|$)"
    r"|.)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in that a server offers. Names of schemes and parameters in lower case."""

    scheme: str
    parameters: Mapping[str, str]
    quoted: frozenset[str]  # the parameters that were written in quotes

    @property
    def way(self) -> str:
        """Scheme and algorithm, as in ``Digest SHA-256``."""
        algorithm = self.parameters.get("algorithm", "MD5" if self.scheme == "digest" else "")
        return f"{self.scheme.capitalize()} {algorithm}".strip()

    @property
    def is_stale(self) -> bool:
        """Whether only the nonce expired, and the credentials were right."""
        return self.parameters.get("stale", "").lower() == "true"

    @property
    def digest(self) -> str:
        """The name of the hash function, without ``-sess``."""
        name = re.sub(r"[-_]", "", self.parameters.get("algorithm", "MD5").lower())
        return name.removesuffix("sess")

    @property
    def rank(self) -> int | None:
        """Its place among the known ways, 0 the strongest; None if it is not known."""
        if self.scheme == "basic":
            return len(_HASHES)
        qop = _qop(self.parameters)
        if self.scheme != "digest" or self.digest not in _HASHES or qop is None:
            return None
        return _HASHES.index(self.digest) if "nonce" in self.parameters else None


def challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges in ``WWW-Authenticate`` headers, of which each may hold several."""
    found: list[tuple[str, dict[str, str], set[str]]] = []
    for header in headers:
        is_new = True  # a parameter cannot belong to a challenge of another header
        for item in _ITEM.finditer(header):
            if item["scheme"]:
                found.append((item["scheme"].lower(), {}, set()))
                is_new = False
            elif item["name"] and not is_new:
                name = item["name"].lower()
                is_quoted = item["quoted"] is not None
                found[-1][1][name] = item["quoted"] if is_quoted else item["plain"].strip()
                if is_quoted:
                    found[-1][2].add(name)
    return [Challenge(scheme, values, frozenset(quoted)) for scheme, values, quoted in found]


class Login:
    """Answers the challenges of one server with one user's credentials."""

    def __init__(
        self,
        given: Credentials,
        client_nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self._given = given
        self._client_nonce = client_nonce
        self._challenge: Challenge | None = None
        self._count = 0
        self._has_worked = False

    def accept(self, offered: Sequence[Challenge]) -> bool:
        """Use the strongest way offered from now on; whether a request is worth repeating.

        It is not where the way is unknown, or the credentials were refused: each repetition may
        count as a wrong password, and lock the user out.
        """
        known = [each for each in offered if each.rank is not None]
        if not known:
            return False
        before = self._challenge
        self._challenge = min(known, key=lambda each: each.rank or 0)
        self._count = 0
        nonce = self._challenge.parameters.get("nonce")
        is_new = before is None or nonce != before.parameters.get("nonce")
        return before is None or (is_new and (self._has_worked or self._challenge.is_stale))

    def worked(self) -> None:
        """Note that the credentials were accepted: a refusal now is one of the nonce."""
        self._has_worked = self._challenge is not None

    def field(self, method: str, uri: str, body: bytes = b"") -> str | None:
        """The ``Authorization`` header's value for a request; None before a challenge."""
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            pair = f"{self._given.username}:{self._given.password}".encode(*_CODING)
            return f"Basic {base64.b64encode(pair).decode()}"
        return self._digest(self._challenge, method, uri, body)

    def _digest(self, challenge: Challenge, method: str, uri: str, body: bytes) -> str:
        self._count += 1
        parameters = challenge.parameters
        realm, nonce = parameters.get("realm", ""), parameters["nonce"]
        algorithm = parameters.get("algorithm")
        count, client_nonce = f"{self._count:08x}", self._client_nonce()
        qop = _qop(parameters)

        def hashed(*parts: str) -> str:
            return _hashed(challenge.digest, ":".join(parts).encode(*_CODING))

        user = hashed(self._given.username, realm, self._given.password)
        is_session = (algorithm or "").lower().endswith("sess")
        if is_session:
            user = hashed(user, nonce, client_nonce)
        request = hashed(method, uri)
        if qop == "auth-int":
            request = hashed(method, uri, _hashed(challenge.digest, body))
        middle = (count, client_nonce, qop) if qop else ()
        username = self._given.username
        if parameters.get("userhash", "").lower() == "true":
            username = hashed(username, realm)
        fields = [
            f'username="{_escaped(username)}"',
            f'realm="{realm}"',
            f'nonce="{nonce}"',
            f'uri="{uri}"',
            f'response="{hashed(user, nonce, *middle, request)}"',
        ]
        if algorithm is not None:  # written as the server wrote it
            mark = '"' if "algorithm" in challenge.quoted else ""
            fields.append(f"algorithm={mark}{algorithm}{mark}")
        if qop:
            fields += [f"qop={qop}", f"nc={count}"]
        if qop or is_session:
            fields.append(f'cnonce="{client_nonce}"')
        if "opaque" in parameters:
            fields.append(f'opaque="{parameters["opaque"]}"')
        if username != self._given.username:
            fields.append("userhash=true")
        return f"Digest {', '.join(fields)}"


def _qop(parameters: Mapping[str, str]) -> str | None:
    """The quality of protection to use, empty for that of RFC 2069; None if none is known."""
    offered = re.findall(r"[\w-]+", parameters.get("qop", "").lower())
    if not offered:
        return ""
    return next((each for each in ("auth", "auth-int") if each in offered), None)


def _hashed(digest: str, data: bytes) -> str:
    return hashlib.new(_NAMES[digest], data, usedforsecurity=False).hexdigest()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
