"""Streams that clients send: one WebSocket protocol, pictures of strangers, times and room."""
