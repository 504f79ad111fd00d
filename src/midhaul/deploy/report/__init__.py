"""Charts that the reports of simulated and of live gateways share."""
