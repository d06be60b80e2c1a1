"""``fer-edge train --tune``: a search for the best values of what a recipe names in ``[tune.ranges]``."""
