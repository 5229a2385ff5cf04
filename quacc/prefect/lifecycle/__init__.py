"""How runs and servers begin and end."""
