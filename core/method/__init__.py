"""The method of Self-NPO and Diffusion-NPO as pure functions on tensors, beside the formulas of the papers.

Self-NPO: arXiv 2505.11777 (AAAI 2026). Diffusion-NPO: arXiv 2505.11245 (ICLR 2025).
"""
