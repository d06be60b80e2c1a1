"""Face detectors: ``make_detector`` returns the one that the settings name."""
