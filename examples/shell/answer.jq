# An EvaluateResponse in lines for a person: what cannot wait, the options in their order, what to ask.

def words($prefix): ltrimstr($prefix) | gsub("_"; " ") | ascii_downcase;

.decision
| (.missing // []) as $missing
| (.options | INDEX(.option)) as $options
| "  suicide risk: \(.triage.level | words("TRIAGE_LEVEL_"))"
  + (.triage.provisional | words("TRIAGE_STANDING_") | if . == "settled" then "" else " (\(.))" end),
  (
    .referrals[]?
    | (.urgency | words("URGENCY_")) as $urgency
    | if .state == "REFERRAL_STATE_REQUIRED" then "  refer, \($urgency): \(.kind | words("")). \(.because)"
      elif $urgency == "emergency" then "  rule out now: \(.kind | words("")). \(.because)"
      else empty end
  ),
  (
    .optionOrder | to_entries[]
    | $options[.value] as $option
    | ([$option.criteria[]?] | INDEX(.id)) as $criteria
    | "  \(.key + 1). \($option.title): \($option.status | words("ELIGIBILITY_STATUS_") | ascii_upcase). \($option.summary)",
      ($option.whyNot[]? | "       \($criteria[.].because) [\(.)]")
  ),
  (.coverage | values | "  coverage by \(.payerId): \(.status | words("COVERAGE_STATUS_"))"),
  ($missing[:5][] | "  ask: \(.question)"),
  ($missing[5:] | length | if . > 0 then "  ... and \(.) more questions" else empty end),
  (.unusable[]? | "  not used: \(.fact): \(.reason)"),
  (
    .changesOn | values
    | "  by time alone: \(.to | words("ELIGIBILITY_STATUS_")) for \($options[.option].title) from \(.date) on"
  ),
  "  \(.disclaimer)"
