#!/usr/bin/env bash
# Calls a service of the CDS Hooks face with curl, and prints its answer.
#
#     examples/cds-hooks/call.sh FOLDER URL FILE
#
# FOLDER is what `client.py setup` wrote, URL the address of the service as the server's --cds-url has it, FILE a request.
# PYTHON names an interpreter that has PyJWT, to sign the token.
set -euo pipefail

if (($# != 3)); then
    echo "usage: $0 FOLDER URL FILE" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
token=$("${PYTHON:-python3}" "$here/client.py" token "$1" "$2")
curl --silent --show-error --fail-with-body "$2" \
    --header "authorization: Bearer $token" --header 'content-type: application/json' --data-binary "@$3"
echo
