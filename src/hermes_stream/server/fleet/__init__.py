"""Many servers over one store: who owns a session, where its checkpoints lie, who still lives, and Ray Serve."""
