"""Streams that the server fetches itself: what may be named, how it is reached safely, and who watches it."""
