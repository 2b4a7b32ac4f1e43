"""The nouns of tagging and what is done with them: no files, no models, no terminals."""
