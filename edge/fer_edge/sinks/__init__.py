"""Where events go: each kind of sink is one file, and fits ``base.Sink``."""
