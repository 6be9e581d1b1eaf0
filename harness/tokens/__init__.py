"""Letters to numbers: tokenizers and byte-pair encoding."""
