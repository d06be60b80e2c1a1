"""Switch a relay or an LED on while somebody in view is happy: python relay.py [SOURCE] [EMOTION] [GPIO]

Needs gpiozero, which is part of Raspberry Pi OS. To try it anywhere: GPIOZERO_PIN_FACTORY=mock python relay.py
"""

import sys

from gpiozero import DigitalOutputDevice

from fer_edge import Watcher, event_line

source, emotion, gpio = [*sys.argv[1:], *("demo", "happy", "17")[len(sys.argv) - 1 :]]
faces: set[int | None] = set()

with DigitalOutputDevice(int(gpio)) as relay, Watcher(source) as watcher:  # off at first, and off at the end
    for event in watcher:
        if event.emotion == emotion:
            faces.add(event.track_id)
        else:  # it changed, or the face left
            faces.discard(event.track_id)
        relay.value = bool(faces)
        print(event_line(event), "on" if relay.value else "off", sep="  ", flush=True)
