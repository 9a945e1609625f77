"""A client of the CDS Hooks face: makes its key, signs a token for each call, prints the cards.

    python client.py setup FOLDER          writes key.pem, keys.json and clients.json, for the server's --cds-clients
    python client.py token FOLDER URL      prints a token for one call of URL
    python client.py call FOLDER URL FILE  calls the service at URL with a request, prints the cards

Needs PyJWT with cryptography, and httpx.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://ehr.example.org/fhir"
KEY_ID = "example-1"


def setup(folder: Path) -> None:
    """Make a key, its JWK Set for the server, and the server's file of clients."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(pem)
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    (folder / "keys.json").write_text(json.dumps({"keys": [{**public, "kid": KEY_ID, "alg": "ES384", "use": "sig"}]}))
    client = {"name": "example", "issuer": ISSUER, "jwks": "keys.json", "jurisdiction": "US"}
    (folder / "clients.json").write_text(json.dumps({"clients": [client]}, indent=1))


def token(folder: Path, address: str) -> str:
    """Sign a token for one call: it names the exact address, lives five minutes and is taken once."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": address, "iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
    return jwt.encode(claims, (folder / "key.pem").read_bytes(), algorithm="ES384", headers={"kid": KEY_ID})


def call(folder: Path, address: str, file: Path) -> None:
    """Call a service, as a new instance of its hook, and print what it says."""
    request = {**json.loads(file.read_text()), "hookInstance": str(uuid.uuid4())}
    answer = httpx.post(
        address, json=request, headers={"authorization": f"Bearer {token(folder, address)}"}, timeout=10
    )
    if answer.status_code != httpx.codes.OK:
        sys.exit(f"{answer.status_code}: {answer.text}")
    for card in answer.json()["cards"]:
        print(f"[{card['indicator']}] {card['summary']}\n\n{card['detail']}\n")
        for suggestion in card.get("suggestions", []):
            print(f"suggested: {suggestion['label']}")
        for link in card["links"]:
            print(f"{link['label']}: {link['url']}")


def main(arguments: list[str]) -> None:
    """Run one of the three commands."""
    match arguments:
        case ["setup", folder]:
            setup(Path(folder))
        case ["token", folder, address]:
            print(token(Path(folder), address))
        case ["call", folder, address, file]:
            call(Path(folder), address, Path(file))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
