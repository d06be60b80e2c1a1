"""Network streams: RTSP and HTTP."""
