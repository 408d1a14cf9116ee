"""Pictures of what a memory holds."""
