"""Predictions against gold: counts, metrics, reports. No models."""
