"""Who may come in: keys, origins, limits of requests, where the server listens."""
