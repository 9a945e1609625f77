# An EvaluateResponse in lines for a person: what cannot wait, the options in their order, what to ask.

def words($prefix): ltrimstr($prefix) | gsub("_"; " ") | ascii_downcase;

.decision as $decision
| $decision
| "  suicide risk: \(.triage.level | words("TRIAGE_LEVEL_")), \(.triage.provisional | words("TRIAGE_STANDING_"))",
  (
    .referrals[]?
    | (.urgency | words("URGENCY_")) as $urgency
    | if .state == "REFERRAL_STATE_REQUIRED" then "  refer, \($urgency): \(.kind | words("")). \(.because)"
      elif $urgency == "emergency" then "  rule out now: \(.kind | words("")). \(.because)"
      else empty end
  ),
  (
    .optionOrder[] as $name
    | .options[] | select(.option == $name)
    | "  \(.title): \(.status | words("ELIGIBILITY_STATUS_") | ascii_upcase). \(.summary)"
  ),
  (.missing[:5][]? | "  ask: \(.question)"),
  "  \(.disclaimer)"
