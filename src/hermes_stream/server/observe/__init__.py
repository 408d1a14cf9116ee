"""How the server is: logs, measures, health."""
