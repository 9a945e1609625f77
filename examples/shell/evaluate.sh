#!/usr/bin/env bash
# Asks a running server what the patients of case files may be offered, and prints the answers. Needs buf and jq.
#
#     examples/shell/evaluate.sh [--address 127.0.0.1:50051] examples/patients/01-clear-yes.json
#
# The call goes by the server's reflection; proto/ is read for the enum values that the words of a case file become.
# Exit code 0 when every patient was answered, 1 when one was not, 2 for wrong usage.
set -euo pipefail

address=127.0.0.1:50051
if [[ ${1:-} == --address ]]; then
    address=${2:-}
    shift 2
fi
if (($# == 0)); then
    echo "usage: $0 [--address HOST:PORT] FILE..." >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
method=eligibility.v1.EligibilityService/Evaluate
unavailable=$((14 << 3)) # how buf says UNAVAILABLE, the gRPC code 14

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

call() {
    buf curl --protocol grpc --http2-prior-knowledge "$@"
}

# The same request_id each time: an answer that was logged and then lost comes again.
evaluate() {
    local seconds code
    for seconds in 1 2 4 0; do
        code=0
        call --data "@$work/request" "http://$address/$method" || code=$?
        ((code == unavailable && seconds)) || return "$code"
        sleep "$seconds"
    done
}

uuid() {
    cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen
}

if ! call --list-services "http://$address" >"$work/services" 2>&1; then
    echo "$address: no answer; is a server running there, without TLS?" >&2
    exit 1
fi
buf build "$root/proto" --path "$root/proto/eligibility/v1/patient.proto" --output "$work/contract.json"
jq --compact-output . "$@" >"$work/cases"

refused=0
while IFS= read -r patient; do
    jq --raw-output '"\n\(.id // "")  \(.title // "")\n\(.jurisdiction), as of \(.as_of)"' <<<"$patient"
    jq --slurpfile contract "$work/contract.json" --arg request_id "$(uuid)" --from-file "$here/request.jq" \
        <<<"$patient" >"$work/request"
    evaluate | jq --raw-output --from-file "$here/answer.jq" || refused=1
done <"$work/cases"
exit "$refused"
