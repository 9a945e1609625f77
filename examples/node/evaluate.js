// Asks a running server what the patients of case files may be offered, and prints the answers.
//
//     npm install --prefix examples/node
//     node examples/node/evaluate.js examples/patients/01-clear-yes.json --address 127.0.0.1:50051
//
// It knows no more of the contract than its names: the messages come from the server by reflection. Exit code 0 when
// every patient was answered, 1 when one was not, 2 for wrong usage.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import reflection from "grpc-js-reflection-client";

const SERVICE = "eligibility.v1.EligibilityService";
const TIMEOUT_MS = 30_000;

// gRPC sends the same bytes again, so the same request_id: an answer that was logged and then lost comes again.
const RETRIES = {
  maxAttempts: 4,
  initialBackoff: "0.5s",
  backoffMultiplier: 2,
  maxBackoff: "4s",
  retryableStatusCodes: ["UNAVAILABLE"],
};

// Reads a case file: one object, a list of objects, or one object on each line.
function readCases(path) {
  const text = readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  try {
    return [JSON.parse(text)].flat();
  } catch {
    return text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
  }
}

// Prefix of an enum's values: CARE_SETTING_ of CARE_SETTING_UNSPECIFIED.
function prefixOf(kind) {
  return kind.valuesById[0].replace(/UNSPECIFIED$/, "");
}

// Gives the wire's value for a field: `outpatient` becomes CARE_SETTING_OUTPATIENT, a list stands in `items`.
function wireValue(field, value) {
  const kind = field.resolve().resolvedType;
  if (!kind) return value;
  if (kind.values) return prefixOf(kind) + value.toUpperCase();
  const items = kind.fields.items.resolve();
  return { items: value.map((item) => (items.resolvedType.values ? wireValue(items, item) : wireRecord(items, item))) };
}

function wireRecord(field, record) {
  const known = Object.entries(record).filter(([, value]) => value !== null);
  return Object.fromEntries(known.map(([name, value]) => [name, wireValue(field.resolvedType.fields[name], value)]));
}

// Writes a case as a request. Each fact goes to the area that has a field of its name. Whoever has a patient's data
// erased names the patient by the `patient_reference` of the calls.
function request(type, patient) {
  const history = type.fields.patient_history.resolve().resolvedType;
  const areas = history.fieldsArray.filter((area) => !area.map);
  const patientHistory = { fact_provenance: {} };
  for (const [name, given] of Object.entries(patient.facts)) {
    const observed = given && given.value !== undefined ? given : { value: given };
    if (observed.value === null) continue;
    const area = areas.find((one) => one.resolve().resolvedType.fields[name]);
    if (!area) throw new Error(`\`${name}\` is not a fact of the contract`);
    patientHistory[area.name] ??= {};
    patientHistory[area.name][name] = wireValue(area.resolvedType.fields[name], observed.value);
    if (observed.date || observed.source) {
      patientHistory.fact_provenance[name] = { date: observed.date ?? "", source: observed.source ?? "" };
    }
  }
  return type.fromObject({
    request_id: randomUUID(),
    patient_reference: String(patient.patient_reference ?? patient.id ?? ""),
    jurisdiction: wireValue(type.fields.jurisdiction, patient.jurisdiction),
    payer_id: patient.payer_id ?? "",
    as_of: patient.as_of,
    purpose: "PURPOSE_TEST",
    patient_history: patientHistory,
  });
}

// Gives an enum field's value in words.
function words(type, message, name) {
  const kind = type.fields[name].resolve().resolvedType;
  return kind.valuesById[message[name]].replace(prefixOf(kind), "").replaceAll("_", " ").toLowerCase();
}

// Prints a decision: what cannot wait, the options in their order, what to ask.
function show(patient, type, decision) {
  const [option, triage, referral, coverage, change] = ["options", "triage", "referrals", "coverage", "changes_on"].map(
    (name) => type.fields[name].resolve().resolvedType,
  );
  console.log(`\n${patient.id ?? ""}  ${patient.title ?? ""}\n${decision.jurisdiction}, as of ${decision.as_of}`);
  const standing = words(triage, decision.triage, "provisional");
  console.log(`  suicide risk: ${words(triage, decision.triage, "level")}${standing === "settled" ? "" : ` (${standing})`}`);
  for (const one of decision.referrals) {
    const [state, urgency] = [words(referral, one, "state"), words(referral, one, "urgency")];
    const kind = one.kind.replaceAll("_", " ");
    if (state === "required") console.log(`  refer, ${urgency}: ${kind}. ${one.because}`);
    else if (urgency === "emergency") console.log(`  rule out now: ${kind}. ${one.because}`);
  }
  const options = Object.fromEntries(decision.options.map((one) => [one.option, one]));
  for (const [place, name] of decision.option_order.entries()) {
    const one = options[name];
    console.log(`  ${place + 1}. ${one.title}: ${words(option, one, "status").toUpperCase()}. ${one.summary}`);
    for (const id of one.why_not) {
      console.log(`       ${one.criteria.find((finding) => finding.id === id).because} [${id}]`);
    }
  }
  if (decision.coverage) {
    console.log(`  coverage by ${decision.coverage.payer_id}: ${words(coverage, decision.coverage, "status")}`);
  }
  for (const { question } of decision.missing.slice(0, 5)) console.log(`  ask: ${question}`);
  if (decision.missing.length > 5) console.log(`  ... and ${decision.missing.length - 5} more questions`);
  for (const { fact, reason } of decision.unusable) console.log(`  not used: ${fact}: ${reason}`);
  if (decision.changes_on) {
    const { option: name, date } = decision.changes_on;
    const to = words(change, decision.changes_on, "to");
    console.log(`  by time alone: ${to} for ${options[name].title} from ${date} on`);
  }
  console.log(`  ${decision.disclaimer}`);
}

const { values, positionals: files } = parseArgs({
  options: { address: { type: "string", default: "127.0.0.1:50051" } },
  allowPositionals: true,
});
if (!files.length) {
  console.error("usage: node evaluate.js FILE... [--address HOST:PORT]");
  process.exit(2);
}
const { address } = values;
const insecure = grpc.credentials.createInsecure(); // a demonstration on loopback
const config = JSON.stringify({ methodConfig: [{ name: [{}], retryPolicy: RETRIES }] });
const options = { "grpc.service_config": config };
const descriptors = await new reflection.GrpcReflection(address, insecure, options)
  .getDescriptorBySymbol(SERVICE)
  .catch((error) => {
    console.error(`${address}: ${error.message}; is a server running there, without TLS?`);
    process.exit(1);
  });
const root = descriptors.getProtobufJsRoot();
root.resolveAll();
const [asked, answered, decided] = ["EvaluateRequest", "EvaluateResponse", "Decision"].map((name) =>
  root.lookupType(`eligibility.v1.${name}`),
);
const client = new grpc.Client(address, insecure, options);

function evaluate(message) {
  const write = (value) => Buffer.from(asked.encode(value).finish());
  const read = (bytes) => answered.decode(bytes);
  const deadline = { deadline: Date.now() + TIMEOUT_MS };
  return new Promise((resolve, reject) => {
    const done = (error, response) => (error ? reject(error) : resolve(response.decision));
    client.makeUnaryRequest(`/${SERVICE}/Evaluate`, write, read, message, deadline, done);
  });
}

let refused = 0;
for (const patient of files.flatMap(readCases)) {
  try {
    show(patient, decided, await evaluate(request(asked, patient)));
  } catch (error) {
    refused += 1;
    console.error(`\n${patient.id ?? ""}: ${error.message}`);
  }
}
client.close();
process.exit(refused ? 1 : 0);
