"""`hermes-stream eval shapestream`."""
