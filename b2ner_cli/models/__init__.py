"""From names and files to a loaded model with its adapter. No prompts, no documents."""
