"""Evidence in words: Markdown, LaTeX, HTML."""
