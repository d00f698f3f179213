"""The one screen with its four panes, and the small ones in front of it."""
