"""The running program: sessions, source threads, outputs, signals, and the watchdog."""
