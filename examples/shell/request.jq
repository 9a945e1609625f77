# A case of a case file as an EvaluateRequest: each fact in the area that has a field of its name, words as enum values.
# $contract is what `buf build proto --path .../patient.proto` gives as JSON; a retry has the $request_id of the first call.

($contract[0].file[] | select(.name == "eligibility/v1/patient.proto")) as $file
| ($file.messageType | INDEX(".eligibility.v1." + .name) | map_values(.field | INDEX(.name))) as $fields
| ($file.enumType | INDEX(".eligibility.v1." + .name) | map_values(.value[0].name | rtrimstr("UNSPECIFIED"))) as $prefixes

# The wire's value for a field. A list stands in `items`: present and empty says that there are none.
| def wire($field; $value):
    ($field.typeName // "") as $type
    | if $prefixes[$type] then $prefixes[$type] + ($value | ascii_upcase)
      elif $fields[$type] then
        $fields[$type].items as $item
        | {items: [
            $value[]
            | if type == "object" then
                with_entries(select(.value != null) | .value = wire($fields[$item.typeName][.key]; .value))
              else wire($item; .) end
          ]}
      else $value end;

.facts as $facts
| ($facts | map_values(if type == "object" then . else {value: .} end) | map_values(select(.value != null))) as $observed
| ($fields[".eligibility.v1.PatientHistory"] | map_values(select(.typeName | endswith("FactProvenanceEntry") | not))) as $areas
| ($facts | keys - [$areas[] | $fields[.typeName] | keys[]]) as $strange
| if $strange != [] then error("not facts of the contract: \($strange | join(", "))") else . end
| {
    $request_id,
    patient_reference: (.patient_reference // .id // "" | tostring),
    jurisdiction: "JURISDICTION_\(.jurisdiction)",
    as_of,
    payer_id: (.payer_id // ""),
    purpose: "PURPOSE_TEST",
    patient_history: (
      ($areas | map_values(
        $fields[.typeName] as $known
        | $observed | with_entries(select($known[.key]) | .value = wire($known[.key]; .value.value))
      ))
      + {fact_provenance: ($observed | map_values(select(.date or .source) | {date, source} | map_values(. // "")))}
    )
  }
