"""Inf-Streams-Eval: hours of video narrated, and what was said compared with a transcript and with another speaker.

Source: StreamingVLM, arXiv 2510.09608, section on evaluation, and the formats of its released code (MIT).
"""
