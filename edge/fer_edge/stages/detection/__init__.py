"""Face detectors. ``choice.make_detector`` loads the one that the settings name."""
