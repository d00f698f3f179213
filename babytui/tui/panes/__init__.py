"""The four panes. Each owns its widgets and its state; panes talk through messages."""
