"""Moving faces with known positions, people and emotions: FER-Edge compared with a full search of every frame."""
