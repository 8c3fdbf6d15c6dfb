"""Puts the parts together from settings. One module per what is put together: import little."""
