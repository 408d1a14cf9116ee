"""What questions look at in a first-in-first-out memory, in numbers: the investigation behind HERMES."""
