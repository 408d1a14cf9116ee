"""Speed and memory, measured: what a question, a frame and a memory cost here, beside the machine's floor."""
