"""World out: live streams behind HTTP and WebSocket."""
