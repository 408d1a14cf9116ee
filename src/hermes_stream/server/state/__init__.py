"""What is kept: pictures, journal, checkpoints; earlier times; and what is deleted."""
