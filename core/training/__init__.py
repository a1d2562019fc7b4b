"""Training of negative offsets: truncated diffusion fine-tuning as an iterator of typed events."""
