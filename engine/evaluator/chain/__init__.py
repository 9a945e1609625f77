"""The second engine: productions that durable-rules chains from facts to answers, stratum by stratum.

The compiled form becomes sets of states (`boxes`), those become productions (`productions`), those rulesets that
provably keep to the engine's limits (`panels`); sessions keep evaluations apart (`session`) and `driver` runs them.
"""

from engine.evaluator.chain.driver import Chain, Plan

__all__ = ["Chain", "Plan"]
