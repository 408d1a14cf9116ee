"""OpenAI's API, for clients that already speak it: chat completions, models, realtime."""
