"""The rules as a site that a clinician can browse: a page for each criterion and each concept, and what lies across."""
