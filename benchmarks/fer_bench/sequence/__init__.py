"""Moving faces whose places, people and emotions are known: FER-Edge against a full search of every frame."""
