"""The codes that quacc can run: one file each, holding one ``Code`` named ``CODE``."""
