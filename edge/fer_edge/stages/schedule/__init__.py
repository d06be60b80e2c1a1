"""Plan where to search in the next frame, within the processor budget.

A search of a whole frame costs tens of times as much as a search of the region around a known face. Each track is
therefore searched in its own region, at a scale at which the face is as small as the detector accepts. The whole frame
is divided into tiles, which are searched one at a time, so that no single frame bears the cost of all of them.
Static parts of the image are searched rarely. If the budget does not suffice, the searches that are most overdue come
first.

``plan.plan_searches`` is a pure function of the frame size, the motion, the tracks, the time and the cost of searches.
"""
