"""Install FER-Edge over SSH on a device that is already running."""
