"""The same methods by gRPC, for clients that go by it unless told otherwise."""
