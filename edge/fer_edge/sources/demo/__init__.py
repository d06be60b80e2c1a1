"""The demo sources: a moving portrait, and a drawn face whose emotions change."""
