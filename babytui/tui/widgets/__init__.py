"""Widgets that more than one pane uses. Each draws lines and refreshes only those that changed."""
