"""The wire: gRPC in front of the engine."""
