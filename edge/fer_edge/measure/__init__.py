"""The device's part of a measurement: models timed in processes of their own, and answers to `fer-edge bench --on`."""
