"""SSH to a device, for the packages that run on the host: deployments and measurements."""
