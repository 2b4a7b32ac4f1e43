"""The B2NER language: what is asked, what a right answer is, what an answer says."""
