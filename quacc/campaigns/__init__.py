"""Campaigns: steps in a YAML file, checked, run, and taken up again."""
