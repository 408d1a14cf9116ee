"""Forwards with static shapes: questions and decode steps that a device can run again without being told how."""
