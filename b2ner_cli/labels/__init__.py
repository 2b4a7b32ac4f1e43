"""Label sets and their names: read, looked up, renamed, reviewed. No models."""
