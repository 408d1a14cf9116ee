"""Standing questions: asked of every chunk, told when the answer is yes."""
