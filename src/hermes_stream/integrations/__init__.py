"""This package as a part of others: files that are imported where those are installed, and nowhere else."""
