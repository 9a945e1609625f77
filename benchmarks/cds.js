// Calls a CDS Hooks service over and over, each call with a token of its own.
//
//   k6 run -e URL=http://127.0.0.1:8080/te/... -e BODY=body.json -e TOKENS=tokens.json -e CALLERS=8 -e CALLS=800 -e PAUSE=0 -e ROUND=0 benchmarks/cds.js
//
// Each call has a hook instance of its own, also among those of other rounds: a repeated call would be answered from
// the log. After each call a caller pauses for PAUSE seconds, give or take half of that.
// The summary comes as JSON on standard output: calls a second, and times of a call in milliseconds.

import { sleep } from "k6";
import http from "k6/http";
import exec from "k6/execution";
import { SharedArray } from "k6/data";
import { Counter } from "k6/metrics";

const body = open(__ENV.BODY);
const tokens = new SharedArray("tokens", () => JSON.parse(open(__ENV.TOKENS)));
const refused = new Counter("refused");

export const options = {
  scenarios: {
    calls: { executor: "shared-iterations", vus: Number(__ENV.CALLERS), iterations: Number(__ENV.CALLS), maxDuration: "300s" },
  },
  discardResponseBodies: true,
  summaryTrendStats: ["med", "p(95)", "p(99)"],
};

export default function () {
  const number = exec.scenario.iterationInTest;
  const hook = body.replace("HOOK-INSTANCE", `${__ENV.ROUND.padStart(8, "0")}-0000-4000-8000-${String(number).padStart(12, "0")}`);
  const headers = { "content-type": "application/json", authorization: `Bearer ${tokens[number]}` };
  if (http.post(__ENV.URL, hook, { headers }).status !== 200) {
    refused.add(1);
  }
  sleep(Number(__ENV.PAUSE) * (0.5 + Math.random()));
}

export function handleSummary(data) {
  const calls = data.metrics.http_req_duration.values;
  const summary = {
    per_second: data.metrics.iterations.values.rate,
    p50_ms: calls.med,
    p95_ms: calls["p(95)"],
    p99_ms: calls["p(99)"],
    refused: data.metrics.refused ? data.metrics.refused.values.count : 0,
  };
  return { stdout: JSON.stringify(summary) };
}
