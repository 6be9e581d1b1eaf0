"""What CUDA does to dnabench, measured in sections: see check.py."""
