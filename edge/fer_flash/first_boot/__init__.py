"""The files that make a stock image customise itself and install FER-Edge at its first boot."""
