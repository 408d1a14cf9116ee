"""What is used where nothing is said; here because the command line must know it without importing an engine."""

DEFAULT_MODEL = "tiny-llava-onevision"
DEFAULT_MEMORY = "hermes"
# Of `hermes-stream narrate`.
NARRATING_MODEL = "tiny-qwen2.5-vl-commentary"
NARRATING_MEMORY = "streaming-vlm"
