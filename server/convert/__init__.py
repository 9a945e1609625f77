"""Wire to engine and back: the only translation between protobuf messages and the engine's own types.

Both ways follow the descriptors, so a fact or an answer is translated because the contract names it, not because a line
here does. Field names of the contract are the names of the data dictionary and of `engine.evaluator.decision`.
"""
