// Calls Evaluate over and over, as often as the server answers.
//
//   k6 run -e ADDRESS=127.0.0.1:50051 -e REQUEST=request.json -e CALLERS=8 -e SECONDS=10 benchmarks/load.js
//
// The summary comes as JSON on standard output: calls a second, and times of a call in milliseconds.

import grpc from "k6/net/grpc";
import { Counter } from "k6/metrics";

const request = JSON.parse(open(__ENV.REQUEST));
const client = new grpc.Client();
const refused = new Counter("refused");

export const options = {
  vus: Number(__ENV.CALLERS),
  duration: `${__ENV.SECONDS}s`,
  summaryTrendStats: ["med", "p(99)", "count"],
};

let isConnected = false;

export default function () {
  if (!isConnected) {
    client.connect(__ENV.ADDRESS, { plaintext: true, reflect: true });
    isConnected = true;
  }
  const answer = client.invoke("eligibility.v1.EligibilityService/Evaluate", request, { discardResponseMessage: true });
  if (answer.status !== grpc.StatusOK) {
    refused.add(1);
  }
}

export function handleSummary(data) {
  const calls = data.metrics.grpc_req_duration.values;
  const summary = {
    per_second: data.metrics.iterations.values.rate,
    p50_ms: calls.med,
    p99_ms: calls["p(99)"],
    calls: data.metrics.iterations.values.count,
    refused: data.metrics.refused ? data.metrics.refused.values.count : 0,
  };
  return { stdout: JSON.stringify(summary) };
}
