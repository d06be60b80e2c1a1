"""``fer-edge train --tune``: search for the best values of the settings in ``[tune.ranges]`` of a recipe."""
